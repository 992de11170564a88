"""Random damage to valid files: an image or a refusal, never anything else."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from classifier.imaging.decode import PreparedImage
from classifier.imaging.intake import inspect
from classifier.imaging.pool import DecoderPool
from classifier.imaging.refusal import ImageRefused
from tests.classifier import image_files as files

SAMPLES = files.accepted_files()

# Where: near the start, where headers are, or anywhere. What: one byte, or one of the values that
# break length fields.
places = st.one_of(st.integers(0, 200), st.integers(0, 20_000))
values = st.one_of(
    st.binary(min_size=1, max_size=4),
    st.sampled_from([b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x7f\xff\xff\xff", b"\x80"]),
)
edits = st.lists(
    st.tuples(st.sampled_from(["overwrite", "insert", "delete", "cut"]), places, values),
    min_size=1,
    max_size=6,
)


def mutate(data: bytes, changes: list[tuple[str, int, bytes]]) -> bytes:
    for kind, place, value in changes:
        at = place % max(1, len(data))
        if kind == "overwrite":
            data = data[:at] + value + data[at + len(value) :]
        elif kind == "insert":
            data = data[:at] + value + data[at:]
        elif kind == "delete":
            data = data[:at] + data[at + len(value) :]
        else:
            data = data[: max(at, 150)]
    return data


@pytest.fixture(scope="module")
def pool() -> Iterator[DecoderPool]:
    with DecoderPool(1, timeout_s=30) as pool:
        yield pool


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.mark.parametrize("kind", SAMPLES)
@settings(
    max_examples=40,
    deadline=None,
    # The same damage on every machine: a gate must not fail by chance.
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(changes=edits)
def test_damage_is_an_image_or_a_refusal(
    kind: str, changes: list[tuple[str, int, bytes]], pool: DecoderPool, folder: Path
) -> None:
    data = mutate(SAMPLES[kind], changes)
    try:
        inspect(io.BytesIO(data), "cell")
    except ImageRefused as refusal:
        assert refusal.code not in ("decode_timeout", "decode_memory")
    path = folder / "cell"
    path.write_bytes(data)
    pid = pool.pids[0]
    (answer,) = pool.prepare([(path, None)])
    assert isinstance(answer, PreparedImage | ImageRefused)
    assert pool.pids[0] == pid, "the decoder did not survive"
