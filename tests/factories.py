"""Makes the objects tests need, by the services the platform uses itself where that matters."""

import io
from dataclasses import dataclass
from typing import Any

import factory
from django.contrib.auth.hashers import make_password
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone
from factory.django import DjangoModelFactory
from PIL import Image

from specimens.models import Order, Patient, Role, Site, Specimen, User

PASSWORD = "correct horse"


class SiteFactory(DjangoModelFactory[Site]):
    class Meta:
        model = Site

    code = factory.Sequence(lambda n: f"site-{n}")
    name = factory.Sequence(lambda n: f"Laboratory {n}")


class UserFactory(DjangoModelFactory[User]):
    class Meta:
        model = User
        skip_postgeneration_save = True

    username = factory.Sequence(lambda n: f"user-{n}")
    password = factory.django.Password(PASSWORD)
    role = Role.TECHNICIAN

    @factory.post_generation
    def sites(self, create: bool, extracted: list[Site] | None, **_: Any) -> None:
        self.sites.set(extracted or [])


class PatientFactory(DjangoModelFactory[Patient]):
    class Meta:
        model = Patient

    site = factory.SubFactory(SiteFactory)
    identifier = factory.Sequence(lambda n: f"P{n:06}")
    family_name = "Musterfrau"
    given_name = "Erika"
    sex = "F"


class OrderFactory(DjangoModelFactory[Order]):
    class Meta:
        model = Order

    site = factory.SubFactory(SiteFactory)
    patient = factory.SubFactory(PatientFactory, site=factory.SelfAttribute("..site"))
    ordered_at = factory.LazyFunction(timezone.now)


class SpecimenFactory(DjangoModelFactory[Specimen]):
    class Meta:
        model = Specimen

    site = factory.SubFactory(SiteFactory)
    order = factory.SubFactory(OrderFactory, site=factory.SelfAttribute("..site"))
    accession_number = factory.Sequence(lambda n: f"A{n:06}")
    received_at = factory.LazyFunction(timezone.now)
    accessioned_by = factory.SubFactory(UserFactory)


@dataclass(frozen=True, slots=True)
class Cast:
    """The people of the tests: one of each role at `site`, and an outsider at `other_site`."""

    site: Site
    other_site: Site
    technician: User
    pathologist: User
    second_pathologist: User
    administrator: User
    integration: User
    outsider: User

    def specimen(self, **values: Any) -> Specimen:
        """Return a new specimen of the cast's site."""

        values = {"site": self.site, "accessioned_by": self.technician} | values
        return SpecimenFactory.create(**values)


def make_cast() -> Cast:
    """Create the cast with its two sites: with one statement a table, as most tests have a cast."""
    sites = [SiteFactory.build(code="main"), SiteFactory.build(code="other")]
    main, other = Site.objects.bulk_create(sites)
    password = make_password(PASSWORD)
    places = {
        "technician": (Role.TECHNICIAN, main),
        "pathologist": (Role.PATHOLOGIST, main),
        "second-pathologist": (Role.PATHOLOGIST, main),
        "administrator": (Role.ADMINISTRATOR, main),
        "integration": (Role.INTEGRATION, main),
        "outsider": (Role.TECHNICIAN, other),
    }
    people = User.objects.bulk_create(
        User(username=name, password=password, role=role) for name, (role, _) in places.items()
    )
    memberships = User.sites.through
    memberships.objects.bulk_create(
        memberships(user=person, site=places[person.username][1]) for person in people
    )
    named = {person.username.replace("-", "_"): person for person in people}
    return Cast(site=main, other_site=other, **named)


def picture(colour: int = 0, size: tuple[int, int] = (64, 64), format: str = "PNG") -> bytes:
    """Return an image file of one colour; another `colour` (0 to 16,777,215) is another content."""
    rgb = (colour >> 16 & 255, colour >> 8 & 255, colour & 255)
    content = io.BytesIO()
    Image.new("RGB", size, rgb).save(content, format)
    return content.getvalue()


def upload(colour: int = 0, name: str = "cell.png") -> SimpleUploadedFile:
    """Return an uploaded picture as a form would hand it over."""
    return SimpleUploadedFile(name, picture(colour))
