"""The transition table, by itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specimens import workflow
from specimens.models import Specimen
from specimens.workflow import Act, State


def test_states_are_those_of_the_database() -> None:
    assert [s.value for s in State] == Specimen.State.values


@given(st.lists(st.sampled_from(list(Act)), max_size=20))
def test_no_sequence_of_acts_leaves_the_table(acts: list[Act]) -> None:
    state = State.ACCESSIONED
    for act in acts:
        if workflow.may(act, state):
            assert workflow.after(act, state) in workflow.TRANSITIONS[act].values()
            state = workflow.after(act, state)
        else:
            with pytest.raises(workflow.NotAllowedInState, match=act.replace("_", " ")):
                workflow.after(act, state)
    assert (state == State.REJECTED) == (Act.REJECT in acts)


def test_a_rejected_specimen_permits_nothing() -> None:
    assert not [act for act in Act if workflow.may(act, State.REJECTED)]
