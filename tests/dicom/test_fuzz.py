"""A sample of the fuzzer (make fuzz runs all of it): each damaged file is taken or refused."""

import re
import warnings
from pathlib import Path
from typing import Any

import pytest

from tests.dicom import fuzzing
from tests.dicom.fuzz_targets import FLAT_BYTES, ReaderTarget, resident
from tests.dicom.fuzzing import DAMAGES, case, samples
from tests.dicom.pacs import listening, stored_raw

# Every damage to every kind of file, once.
SAMPLE = range(len(samples()) * len(DAMAGES))
OVER_THE_NETWORK = range(0, len(SAMPLE), 11)


def test_every_valid_file_is_taken(tmp_path: Path) -> None:
    target = ReaderTarget(tmp_path)
    target.run(fuzzing.Case(number, one.name, (), one.data) for number, one in enumerate(samples()))
    assert target.tally.outcomes == {"accepted": len(samples())}
    assert target.decoded.outcomes["decoded"] + target.decoded.outcomes["animated"] == len(
        samples()
    )


def test_cases_are_made_again_from_their_number() -> None:
    for number in (0, 17, 101, 999):
        assert case(number) == case(number)
    assert [case(number) for number in range(20)] != [case(n, seed=1) for n in range(20)]


def test_damage_is_taken_or_refused_with_a_code_in_bounded_memory_and_time(tmp_path: Path) -> None:
    target = ReaderTarget(tmp_path)
    before = resident()
    target.run(case(number) for number in SAMPLE)
    assert [(c.number, text) for c, text in target.tally.failures] == []
    assert [(c.number, text) for c, text in target.decoded.failures] == []
    assert resident() - before < FLAT_BYTES
    assert target.tally.outcomes.total() == len(SAMPLE)
    # It does harm, and not everything is refused for the same reason.
    assert target.tally.outcomes["accepted"] < len(SAMPLE) / 3
    assert len(target.tally.outcomes) > 6
    assert all(re.fullmatch(r"[a-z_]+", code) for code in target.tally.outcomes)


@pytest.mark.django_db(transaction=True)
def test_the_listener_answers_damage_with_a_status_and_goes_on(
    cast: Any, settings: Any, tmp_path: Path
) -> None:
    settings.DICOM_SITE = "main"
    with warnings.catch_warnings(), listening(tmp_path) as listener:
        warnings.simplefilter("ignore")
        answers = []
        for number in OVER_THE_NETWORK:
            one = case(number)
            sample = next(s for s in samples() if s.name == one.sample)
            damaged = one.data[sample.start :]
            if not damaged:
                continue  # cut off before the data set
            answers.append(stored_raw(listener.port, damaged, _syntax(sample.data)))
        assert set(answers) <= {0x0000, 0x0122, 0xA900, 0xC000}
        assert answers.count(0xC000) > len(answers) / 4
        valid = samples()[0]
        answer = stored_raw(listener.port, valid.data[valid.start :], _syntax(valid.data))
        assert answer == 0


def _syntax(data: bytes) -> str:
    at = data.index(b"\x02\x00\x10\x00UI")
    length = int.from_bytes(data[at + 6 : at + 8], "little")
    return data[at + 8 : at + 8 + length].rstrip(b"\0").decode()
