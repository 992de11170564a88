"""What people choose for themselves."""

from collections.abc import Mapping

from django.core.exceptions import ValidationError
from django.db import transaction

from specimens.hotkeys import UnusableKeys, own_keys
from specimens.models import User
from specimens.permissions import Action, require
from specimens.services import audit


@transaction.atomic
def set_hotkeys(*, actor: User, keys: Mapping[str, object]) -> User:
    """Keep the actor's own class keys; only what differs from the defaults is stored."""
    require(actor, Action.REVIEW)
    person = User.objects.select_for_update().get(pk=actor.pk)
    try:
        person.hotkeys = own_keys(keys)
    except UnusableKeys as refusal:
        raise ValidationError(str(refusal)) from refusal
    person.save(update_fields=["hotkeys"])
    audit.record(
        actor=actor, action="user.hotkeys_changed", subject=person, details=dict(person.hotkeys)
    )
    return person
