"""What a way out of the laboratory has to offer. Pure: plain data in, a socket out.

A channel belongs to a kind of destination (specimens/models/deliveries.py). The outbox renders a
delivery once, keeps the bytes, and sends these, under the same message id, until a receipt comes:
at least once. The receiver tells repeats by the message id.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from django.conf import settings as django_settings

if TYPE_CHECKING:
    from specimens.interop.codes import CodeTable


@dataclass(frozen=True, slots=True)
class SourceInstance:
    """A DICOM instance that a reported cell was seen in; `frame` counts from 1."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    frame: int | None
    cell_class: str


@dataclass(frozen=True, slots=True)
class OutgoingReport:
    """One result to be told. `content` is Report.content (docs/workflow.md).

    `event` is preliminary, final or corrected; a corrected one has `previous`, the content of the
    version before. A preliminary one is what the machine proposed: version 0, `signature` None,
    and `pdf` raises PermanentFailure, as there is no signed document to draw. `report_id` is
    stable for one version; empty for a preliminary result. `sources` are those of this version,
    `previous_sources` those of the version before.
    """

    message_id: str
    event: str
    content: dict[str, Any]
    previous: dict[str, Any] | None
    created_at: datetime
    pdf: Callable[[], bytes]
    codes: "CodeTable"
    sources: list[SourceInstance]
    report_id: str
    previous_report_id: str
    previous_sources: list[SourceInstance] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Payload:
    """The bytes that are sent, the same at each attempt."""

    content: bytes
    content_type: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """The other side has it. `text` is shown to people: what it answered."""

    text: str


class DeliveryFailure(Exception):
    """It did not arrive; the text says why, for people, and what to do."""


class TemporaryFailure(DeliveryFailure):
    """The other side was reached and could not take it now: tried again, held after some tries."""


class Unreachable(TemporaryFailure):
    """Nobody answered (refused, no route, timeout, 503): the destination rests, nothing is held.

    The deliveries wait; one at a time asks, at growing intervals, whether the other side is back.
    """


class PermanentFailure(DeliveryFailure):
    """The other side, or rendering, refused this message: held at once, for a person."""


class Channel(Protocol):
    """One kind of destination. Without state: used from several threads at a time."""

    @property
    def kind(self) -> str:
        """Its key in MODULES."""

    def problems(self, address: str, settings: dict[str, Any]) -> dict[str, str]:
        """Return what is wrong with a configuration, by field: "address" or a settings key."""

    def render(self, report: OutgoingReport, address: str, settings: dict[str, Any]) -> Payload:
        """Build the message. Raises PermanentFailure where the content cannot be expressed."""

    def send(
        self, payload: Payload, message_id: str, address: str, settings: dict[str, Any]
    ) -> Receipt:
        """Send, and wait for the receipt, within a bounded time.

        Raises Unreachable, TemporaryFailure or PermanentFailure.
        """

    def probe(self, address: str, settings: dict[str, Any]) -> Receipt:
        """Ask whether the other side is there, without any patient data; raises like `send`."""


SECRET_PREFIX: Final = "WBCLAB_DELIVERY_"  # noqa: S105 - a name, not a secret


def read_secret(settings: dict[str, Any], name: str = "secret") -> str:
    """Return a secret of a destination; its settings only say where it is.

    `secret_env` names an environment variable, which must begin with WBCLAB_DELIVERY_ (no other
    can be sent out by a configuration); `secret_file` a file in WBCLAB_DELIVERY_SECRETS_DIR
    (/run/secrets). Empty where the settings name neither. Raises ValueError, with a text for
    people, where what they name is not there.
    """
    variable, file = settings.get(f"{name}_env"), settings.get(f"{name}_file")
    if variable:
        if not str(variable).startswith(SECRET_PREFIX):
            raise ValueError(f"The name of the variable must begin with {SECRET_PREFIX}.")
        if not (value := os.environ.get(str(variable), "")):
            raise ValueError(f"The environment variable {variable} is not set.")
        return value
    if file:
        folder = Path(django_settings.DELIVERY_SECRETS_DIR).resolve()
        path = (folder / str(file)).resolve()
        if path.parent != folder:
            raise ValueError(f"The file must lie in {folder}; give its name only.")
        try:
            return path.read_text().strip()
        except OSError as error:
            raise ValueError(f"{path} cannot be read: {error.strerror}.") from error
    return ""


MODULES: Final = {
    "webhook": "specimens.interop.webhooks",
    "hl7": "specimens.interop.hl7.channel",
    "fhir": "specimens.interop.fhir.channel",
    "dicom_store": "specimens.dicom.channel",
    "dicom_stow": "specimens.dicom.channel",
}


def channel_for(kind: str) -> Channel:
    """Return the channel of a kind; its module, named in MODULES, is imported at first use.

    Each module exposes CHANNELS, a tuple of channels. Raises LookupError where there is none.
    """
    try:
        channels: tuple[Channel, ...] = import_module(MODULES[kind]).CHANNELS
    except (KeyError, ModuleNotFoundError) as error:
        raise LookupError(f"There is no channel for destinations of kind {kind!r}.") from error
    for channel in channels:
        if channel.kind == kind:
            return channel
    raise LookupError(f"{MODULES[kind]} offers no channel of kind {kind!r}.")
