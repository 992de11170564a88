"""The states of a specimen and which act leads from one to another: a table and pure guards.

No database and no request here: services ask, then act; pages ask to know what to offer.
"""

from enum import StrEnum
from typing import Final


class State(StrEnum):
    """Mirrors Specimen.State, which a test holds against this."""

    ACCESSIONED = "accessioned"
    IMAGED = "imaged"
    PRECLASSIFIED = "preclassified"
    IN_REVIEW = "in_review"
    SIGNED_OUT = "signed_out"
    AMENDED = "amended"
    REJECTED = "rejected"


class Act(StrEnum):
    ADD_IMAGES = "add_images"
    FINISH_CLASSIFICATION = "finish_classification"
    REQUEUE = "requeue"
    REJECT = "reject"


_BEFORE_REVIEW: Final = (State.ACCESSIONED, State.IMAGED, State.PRECLASSIFIED)

TRANSITIONS: Final[dict[Act, dict[State, State]]] = {
    Act.ADD_IMAGES: dict.fromkeys(_BEFORE_REVIEW, State.IMAGED),
    Act.FINISH_CLASSIFICATION: {State.IMAGED: State.PRECLASSIFIED},
    Act.REQUEUE: {State.IMAGED: State.IMAGED, State.PRECLASSIFIED: State.IMAGED},
    Act.REJECT: dict.fromkeys(_BEFORE_REVIEW, State.REJECTED),
}


class NotAllowedInState(Exception):
    """The act is not among those the state of the specimen permits."""


def may(act: Act, state: str) -> bool:
    """Tell whether `act` is possible on a specimen in `state`."""
    return State(state) in TRANSITIONS[act]


def after(act: Act, state: str) -> State:
    """Return the state `act` leads to; raises NotAllowedInState with a text for people."""
    try:
        return TRANSITIONS[act][State(state)]
    except KeyError:
        allowed = ", ".join(from_state.replace("_", " ") for from_state in TRANSITIONS[act])
        raise NotAllowedInState(
            f"A specimen that is {state.replace('_', ' ')} does not permit "
            f"“{act.replace('_', ' ')}”: that is possible while it is {allowed}."
        ) from None
