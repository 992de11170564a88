"""Who sees what and who may do what. Every object a person touches comes out of `visible_to`.

What is not visible is answered with 404, what is visible but not allowed with 403.
"""

from enum import StrEnum
from typing import Final, TypeVar

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet

from specimens.models import (
    AuditEvent,
    CellImage,
    CodeMapping,
    Comment,
    Delivery,
    DeliveryAttempt,
    Destination,
    DicomFrame,
    DicomImport,
    DicomInstance,
    InboundMessage,
    Job,
    Order,
    OrderedTest,
    PacsServer,
    Patient,
    Prediction,
    Report,
    Review,
    Role,
    SecondRead,
    Site,
    Slide,
    Specimen,
    User,
)

M = TypeVar("M", bound=Model)

SITE_PATH: Final[dict[type[Model], str]] = {
    AuditEvent: "site",
    CellImage: "site",
    CodeMapping: "site",
    Comment: "specimen__site",
    Delivery: "specimen__site",
    DeliveryAttempt: "delivery__specimen__site",
    Destination: "site",
    DicomFrame: "instance__site",
    DicomImport: "site",
    DicomInstance: "site",
    InboundMessage: "site",
    Job: "cell_image__site",
    Order: "site",
    PacsServer: "site",
    OrderedTest: "site",
    Patient: "site",
    Prediction: "cell_image__site",
    Report: "specimen__site",
    Review: "cell_image__site",
    SecondRead: "specimen__site",
    Site: "pk",
    Slide: "specimen__site",
    Specimen: "site",
}


class Action(StrEnum):
    VIEW = "view"
    ACCESSION = "accession"
    ADD_IMAGES = "add_images"
    REQUEUE = "requeue"
    REJECT_SPECIMEN = "reject_specimen"
    PREDICT = "predict"
    EXCHANGE = "exchange"
    REVIEW = "review"
    SIGN_OUT = "sign_out"
    AMEND = "amend"
    BYPASS_GATE = "bypass_gate"
    VIEW_DELIVERIES = "view_deliveries"
    RETRY_DELIVERY = "retry_delivery"
    CANCEL_DELIVERY = "cancel_delivery"
    VIEW_PAYLOAD = "view_payload"
    EXPORT_DICOM = "export_dicom"
    VIEW_AUDIT = "view_audit"
    ADMINISTER = "administer"


_LABORATORY: Final = frozenset({Role.TECHNICIAN, Role.PATHOLOGIST})
ROLES: Final[dict[Action, frozenset[Role]]] = {
    Action.VIEW: frozenset({Role.TECHNICIAN, Role.PATHOLOGIST, Role.ADMINISTRATOR}),
    Action.ACCESSION: _LABORATORY | {Role.INTEGRATION},
    Action.ADD_IMAGES: _LABORATORY | {Role.INTEGRATION},
    Action.REQUEUE: _LABORATORY | {Role.ADMINISTRATOR},
    Action.REJECT_SPECIMEN: _LABORATORY,
    Action.PREDICT: frozenset(Role),
    Action.EXCHANGE: frozenset(Role),
    Action.REVIEW: _LABORATORY,
    Action.SIGN_OUT: frozenset({Role.PATHOLOGIST}),
    Action.AMEND: frozenset({Role.PATHOLOGIST}),
    Action.BYPASS_GATE: frozenset({Role.PATHOLOGIST}),
    Action.VIEW_DELIVERIES: frozenset(Role),
    Action.RETRY_DELIVERY: _LABORATORY | {Role.ADMINISTRATOR},
    Action.CANCEL_DELIVERY: frozenset({Role.PATHOLOGIST, Role.ADMINISTRATOR}),
    Action.VIEW_PAYLOAD: frozenset({Role.PATHOLOGIST, Role.ADMINISTRATOR}),
    Action.EXPORT_DICOM: frozenset({Role.PATHOLOGIST, Role.ADMINISTRATOR}),
    Action.VIEW_AUDIT: frozenset({Role.ADMINISTRATOR}),
    Action.ADMINISTER: frozenset({Role.ADMINISTRATOR}),
}


def visible_to(user: User | AnonymousUser, model: type[M]) -> QuerySet[M]:
    """Return the rows of `model` that belong to a site of `user`; none for anonymous users."""
    rows = model._default_manager.all()
    if not isinstance(user, User) or not user.is_active:
        return rows.none()
    sites = User.sites.through.objects.filter(user_id=user.pk).values("site_id")
    return rows.filter(**{f"{SITE_PATH[model]}__in": sites})


def can(user: User | AnonymousUser, action: Action) -> bool:
    """Tell whether the role of `user` permits `action` at all; the site is `visible_to`'s part."""
    return isinstance(user, User) and user.is_active and user.role in ROLES[action]


def require(user: User | AnonymousUser, action: Action) -> None:
    """Raise PermissionDenied, with a text for people, unless `can(user, action)`."""
    if not can(user, action):
        roles = ", ".join(sorted(ROLES[action]))
        raise PermissionDenied(
            f"Your role does not permit this ({action.replace('_', ' ')}). It needs: {roles}."
        )


def own_site(user: User) -> Site | None:
    """Return the account's first site: it has what names no other, and its own affairs."""
    return next(iter(user.sites.all()), None)  # `first()` composes a query where they are known


def must_have_second_factor(user: User | AnonymousUser) -> bool:
    """Tell whether the account has to prove a second factor: who may sign, who administers."""
    return settings.SECOND_FACTOR == "required" and (
        can(user, Action.SIGN_OUT) or can(user, Action.ADMINISTER)
    )


def has_proved_second_factor(user: User | AnonymousUser) -> bool:
    """Tell whether this session has; django-otp's middleware hangs the proof on the user.

    An account that came with an API token has proved none.
    """
    return getattr(user, "otp_device", None) is not None


def require_second_factor(user: User, *, enrolled: bool) -> None:
    """Raise PermissionDenied for a signature without the second factor the account has or needs."""
    if has_proved_second_factor(user) or not (enrolled or must_have_second_factor(user)):
        return
    raise PermissionDenied(
        "A signature needs the second factor: log in with the code of your authenticator app, "
        "then sign. An API token cannot sign for this account."
    )
