"""The states of a specimen and which act leads from one to another: a table and pure guards.

No database and no request here: services ask, then act; pages ask to know what to offer.
"""

from dataclasses import dataclass
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
    REVIEW = "review"
    SIGN_OUT = "sign_out"
    SIGN_AMENDMENT = "sign_amendment"
    START_AMENDMENT = "start_amendment"


_BEFORE_REVIEW: Final = (State.ACCESSIONED, State.IMAGED, State.PRECLASSIFIED)

TRANSITIONS: Final[dict[Act, dict[State, State]]] = {
    Act.ADD_IMAGES: dict.fromkeys((*_BEFORE_REVIEW, State.IN_REVIEW), State.IMAGED),
    Act.FINISH_CLASSIFICATION: {State.IMAGED: State.PRECLASSIFIED},
    Act.REQUEUE: dict.fromkeys((State.IMAGED, State.PRECLASSIFIED, State.IN_REVIEW), State.IMAGED),
    Act.REJECT: dict.fromkeys(_BEFORE_REVIEW, State.REJECTED),
    Act.REVIEW: dict.fromkeys((State.PRECLASSIFIED, State.IN_REVIEW), State.IN_REVIEW),
    Act.SIGN_OUT: {State.IN_REVIEW: State.SIGNED_OUT},
    Act.SIGN_AMENDMENT: {State.IN_REVIEW: State.AMENDED},
    Act.START_AMENDMENT: dict.fromkeys((State.SIGNED_OUT, State.AMENDED), State.IN_REVIEW),
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


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseFacts:
    """What the sign gate looks at. All counts are of cells of the case.

    Attributes:
        unfinished: images neither classified nor failed.
        failed: images nobody could classify, and no person has labelled.
        unreviewed: cells without a person's label.
        unidentified: cells that stand under "unidentified".
        counted, target: white cells in the denominator, and how many the site asks for.
        quality_lock: why the site permits no signature now; empty: it does.
        signer_alone: the signer is the only person who labelled cells.
        four_eyes: the site does not permit that.
        critical: codes of the classes whose value is critical.
    """

    unfinished: int = 0
    failed: int = 0
    unreviewed: int = 0
    unidentified: int = 0
    counted: int = 0
    target: int = 100
    quality_lock: str = ""
    signer_alone: bool = False
    four_eyes: bool = False
    critical: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Obstacle:
    """One reason why a case cannot be signed yet. Some may be bypassed, with a reason."""

    code: str
    text: str
    bypassable: bool = False


def sign_obstacles(facts: CaseFacts) -> tuple[Obstacle, ...]:
    """Return what stands between a case and its signature: the sign gate, for page and API."""
    found = []
    if facts.unfinished:
        found.append(Obstacle("unfinished", f"{facts.unfinished} images are not classified yet."))
    if facts.failed:
        text = f"{facts.failed} images failed: requeue them, or bypass with a reason."
        found.append(Obstacle("failed", text, bypassable=True))
    if facts.unidentified:
        text = f"{facts.unidentified} cells are unidentified: give each of them a class."
        found.append(Obstacle("unidentified", text))
    if facts.unreviewed:
        text = f"{facts.unreviewed} cells are unreviewed: look at each of them."
        found.append(Obstacle("unreviewed", text, bypassable=True))
    if facts.counted == 0:
        found.append(Obstacle("no_cells", "No white cell is counted."))
    elif facts.counted < facts.target:
        missing = facts.target - facts.counted
        text = f"{facts.counted} white cells of {facts.target}: count {missing} more."
        found.append(Obstacle("too_few_cells", text, bypassable=True))
    if facts.quality_lock:
        text = f"Quality control is locked: {facts.quality_lock}"
        found.append(Obstacle("quality_locked", text, bypassable=True))
    if facts.four_eyes and facts.signer_alone:
        text = "You alone classified this case; another person must review or sign it."
        found.append(Obstacle("four_eyes", text))
    return tuple(found)
