"""What came of following a message, and what a person may decide about one that is held."""

from dataclasses import dataclass, field
from typing import Final

from specimens.models import Order, Patient, Specimen


class Held(Exception):
    """The message waits for a person. `code` says which correction would help."""

    def __init__(self, code: str, text: str, *, unknown_test: str = "") -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.unknown_test = unknown_test


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """What a person decided about a held message.

    Attributes:
        demographics: "recorded" keeps what the laboratory has, "message" takes the message's over.
        accession_number: for the tube, in place of the one in the message.
        order: that is meant, where the numbers of the message lead to none.
        as_expected: without a number for the tube; it is accessioned when it comes.
    """

    demographics: str = ""
    accession_number: str = ""
    order: Order | None = None
    as_expected: bool = False


NO_CORRECTION: Final = Correction()


@dataclass(slots=True)
class Outcome:
    """What a message did, for the record and for people."""

    texts: list[str] = field(default_factory=list)
    patient: Patient | None = None
    orders: list[Order] = field(default_factory=list)
    specimens: list[Specimen] = field(default_factory=list)

    def did(self, text: str, order: Order, specimen: Specimen | None = None) -> None:
        self.texts.append(text)
        self.orders.append(order)
        self.patient = order.patient
        if specimen is not None:
            self.specimens.append(specimen)
