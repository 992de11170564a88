"""Where results go to: entered, changed, switched off and asked for a sign of life."""

from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from specimens.interop.channels import Channel, DeliveryFailure, Receipt, channel_for
from specimens.models import Destination, Site, User
from specimens.permissions import Action, require, visible_to
from specimens.services import audit, deliveries_bell

FIELDS = ("name", "kind", "address", "settings", "events", "active")


@transaction.atomic
def add_destination(*, actor: User, site: Site, **values: Any) -> Destination:
    """Enter a destination. Raises ValidationError, by field, with what its channel finds wrong."""
    require(actor, Action.ADMINISTER)
    destination = Destination(site=visible_to(actor, Site).get(pk=site.pk), **values)
    _check(destination)
    destination.save(force_insert=True)
    audit.record(
        actor=actor,
        action="destination.added",
        subject=destination,
        site=destination.site,
        details={name: getattr(destination, name) for name in FIELDS},
    )
    return destination


@transaction.atomic
def change_destination(*, actor: User, destination: Destination, **values: Any) -> Destination:
    """Change a destination; its kind stays, for messages of that kind may wait for it.

    What waits goes to the new address, as it was rendered. Raises ValidationError, by field.
    """
    require(actor, Action.ADMINISTER)
    found = visible_to(actor, Destination).select_related("site").select_for_update(of=("self",))
    changed = found.get(pk=destination.pk)
    if values.get("kind", changed.kind) != changed.kind:
        raise ValidationError({"kind": "The kind stays. Enter another destination instead."})
    before = {name: getattr(changed, name) for name in FIELDS}
    for name, value in values.items():
        setattr(changed, name, value)
    _check(changed)
    # Asked again at once: what was unreachable may be so no longer at the new address.
    changed.paused_until, changed.pauses = None, 0
    changed.save()
    changes = {
        name: [before[name], getattr(changed, name)]
        for name in FIELDS
        if getattr(changed, name) != before[name]
    }
    audit.record(
        actor=actor,
        action="destination.changed",
        subject=changed,
        site=changed.site,
        details={"name": changed.name, "changes": changes},
    )
    transaction.on_commit(deliveries_bell.ring)
    return changed


def probe_destination(*, actor: User, destination: Destination) -> Receipt:
    """Ask the other side for a sign of life; no patient's data goes out.

    Raises DeliveryFailure with the reason. Either outcome is recorded.
    """
    require(actor, Action.ADMINISTER)
    found = visible_to(actor, Destination).get(pk=destination.pk)
    try:
        receipt = _channel(found).probe(found.address, found.settings)
    except DeliveryFailure as failure:
        _record_probe(actor, found, f"failed: {failure}")
        raise
    _record_probe(actor, found, receipt.text)
    return receipt


@transaction.atomic
def _record_probe(actor: User, destination: Destination, text: str) -> None:
    audit.record(
        actor=actor,
        action="destination.probed",
        subject=destination,
        site=destination.site,
        details={"name": destination.name, "outcome": text[:500]},
    )


def _check(destination: Destination) -> None:
    destination.full_clean()
    problems = _channel(destination).problems(destination.address, destination.settings)
    if problems:
        errors: dict[str, list[str]] = {}
        for name, text in problems.items():
            field, label = ("address", "") if name == "address" else ("settings", f"{name}: ")
            errors.setdefault(field, []).append(f"{label}{text}")
        raise ValidationError(errors)


def _channel(destination: Destination) -> Channel:
    try:
        return channel_for(destination.kind)
    except LookupError as error:
        raise ValidationError({"kind": str(error)}) from error
