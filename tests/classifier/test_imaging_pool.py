"""The decoder processes: whatever an image does to its decoder costs that image alone."""

import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from classifier.imaging import protocol
from classifier.imaging.decode import PreparedImage, prepare_file
from classifier.imaging.pool import DecoderPool, DecoderPoolError
from classifier.imaging.refusal import ImageRefused
from tests.classifier import image_files as files

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def pool() -> Iterator[DecoderPool]:
    with DecoderPool(2, timeout_s=3) as pool:
        # Both are up, so that a timeout in a test is that of its image.
        while not all(decoder.ready for decoder in pool._decoders):
            pool.prepare([(Path("nowhere"), None)] * 4)
        yield pool


@pytest.fixture
def cell(tmp_path: Path) -> Path:
    path = tmp_path / "cell.png"
    path.write_bytes(files.encode(files.draw_cell(), "PNG"))
    return path


@pytest.fixture
def stuck(tmp_path: Path) -> Path:
    """A file whose reading never ends: a pipe that nobody writes to."""
    path = tmp_path / "stuck.png"
    os.mkfifo(path)
    return path


def code_of(answer: PreparedImage | ImageRefused) -> str:
    return answer.code if isinstance(answer, ImageRefused) else "prepared"


def when_busy(pool: DecoderPool, act: Callable[[int], None], times: int = 1) -> threading.Thread:
    """Do something to the process that has an image in hand, as soon as there is one."""

    def wait_and_act() -> None:
        done: set[int] = set()
        while len(done) < times:
            time.sleep(0.05)
            for decoder in list(pool._decoders):
                if decoder.ready and decoder.task is not None and decoder.pid not in done:
                    time.sleep(0.2)
                    act(decoder.pid)
                    done.add(decoder.pid)
                    break

    thread = threading.Thread(target=wait_and_act, daemon=True)
    thread.start()
    return thread


def test_answers_come_in_order_with_their_thumbnails(tmp_path: Path, pool: DecoderPool) -> None:
    pairs = []
    for number in range(12):
        path = tmp_path / f"{number}.png"
        path.write_bytes(files.encode(files.draw_cell(40 + number, 50), "PNG"))
        pairs.append((path, tmp_path / "small" / f"{number}.jpg"))
    pairs[5][0].write_bytes(b"no image")
    answers = pool.prepare(pairs)
    assert code_of(answers.pop(5)) == "not_an_image"
    prepared = [answer for answer in answers if isinstance(answer, PreparedImage)]
    assert [image.width for image in prepared] == [n + 40 for n in range(12) if n != 5]
    assert len(list((tmp_path / "small").iterdir())) == 11
    np.testing.assert_array_equal(prepared[0].pixels, prepare_file(pairs[0][0]).pixels)


def test_no_images(pool: DecoderPool) -> None:
    assert pool.prepare([]) == []


def test_answers_are_handed_over_as_they_come(cell: Path, stuck: Path, pool: DecoderPool) -> None:
    answers = pool.answers([(stuck, None), (cell, None), (cell, None)])
    came = [(place, code_of(answer)) for place, answer in answers]
    assert came == [(1, "prepared"), (2, "prepared"), (0, "decode_timeout")]


def test_who_does_not_wait_for_the_last_answer_leaves_no_decoder_behind(
    cell: Path, stuck: Path, pool: DecoderPool
) -> None:
    before = set(pool.pids)
    answers = pool.answers([(stuck, None), (cell, None)])
    next(answers)
    answers.close()
    assert len(before & set(pool.pids)) == 1
    assert [code_of(a) for a in pool.prepare([(cell, None)] * 4)] == ["prepared"] * 4


def test_a_batch_uses_every_process(cell: Path, pool: DecoderPool) -> None:
    before = [decoder.served for decoder in pool._decoders]
    pool.prepare([(cell, None)] * 32)
    served = [decoder.served - old for decoder, old in zip(pool._decoders, before, strict=True)]
    assert sum(served) == 32
    assert min(served) > 4


def test_a_file_name_in_no_encoding(tmp_path: Path, pool: DecoderPool) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    path.write_bytes(files.encode(files.draw_cell(), "PNG"))
    assert code_of(pool.prepare([(path, None)])[0]) == "prepared"


def test_an_image_that_hangs_costs_only_itself(cell: Path, stuck: Path, pool: DecoderPool) -> None:
    before = set(pool.pids)
    answers = pool.prepare([(cell, None), (stuck, None), *[(cell, None)] * 8])
    assert [code_of(a) for a in answers] == ["prepared", "decode_timeout", *["prepared"] * 8]
    assert len(before & set(pool.pids)) == 1
    assert code_of(pool.prepare([(cell, None)])[0]) == "prepared"


def test_a_stopped_decoder_is_replaced(cell: Path, pool: DecoderPool) -> None:
    stopped = pool.pids[0]
    os.kill(stopped, signal.SIGSTOP)
    answers = [code_of(answer) for answer in pool.prepare([(cell, None)] * 8)]
    assert sorted(answers) == ["decode_timeout", *["prepared"] * 7]
    assert stopped not in pool.pids
    assert [code_of(a) for a in pool.prepare([(cell, None)] * 8)] == ["prepared"] * 8


def test_a_decoder_killed_while_idle_is_not_noticed(cell: Path, pool: DecoderPool) -> None:
    for pid in pool.pids:
        os.kill(pid, signal.SIGKILL)
    assert [code_of(a) for a in pool.prepare([(cell, None)] * 8)] == ["prepared"] * 8


def test_a_decoder_killed_at_work_gets_one_more_chance(cell: Path, stuck: Path) -> None:
    # The kernel or an operator may have meant another process; twice is no accident.
    patient = DecoderPool(2, timeout_s=20)
    with patient:
        thread = when_busy(patient, lambda pid: os.kill(pid, signal.SIGKILL), times=2)
        answers = patient.prepare([(stuck, None)])
        thread.join()
        assert [code_of(answer) for answer in answers] == ["decode_memory"]
        assert code_of(patient.prepare([(cell, None)])[0]) == "prepared"


def test_a_decoder_that_crashes_refuses_the_image_at_once(
    cell: Path, stuck: Path, pool: DecoderPool
) -> None:
    thread = when_busy(pool, lambda pid: os.kill(pid, signal.SIGSEGV))
    answers = pool.prepare([(stuck, None), (cell, None)])
    thread.join()
    assert [code_of(answer) for answer in answers] == ["damaged", "prepared"]


def test_a_memory_bomb_meets_the_limit(cell: Path, tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(files.encode(files.draw_cell(4096, 4096), "PNG"))
    with DecoderPool(1, memory_limit_bytes=48 * 1024**2, timeout_s=60) as small:
        answers = small.prepare([(cell, None), (bomb, None), (cell, None)])
    assert [code_of(answer) for answer in answers] == ["prepared", "decode_memory", "prepared"]


def test_the_largest_image_fits_the_default_limit(tmp_path: Path) -> None:
    largest = tmp_path / "largest.png"
    largest.write_bytes(files.encode(files.draw_cell(4096, 4096).convert("RGBA"), "PNG"))
    with DecoderPool(1, timeout_s=60) as pool:
        assert code_of(pool.prepare([(largest, tmp_path / "small.jpg")])[0]) == "prepared"


def test_the_memory_of_the_caller_stays_bounded(tmp_path: Path) -> None:
    largest = tmp_path / "largest.png"
    largest.write_bytes(files.encode(files.draw_cell(3000, 3000), "PNG"))
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(files.lying_png())
    with DecoderPool(1, timeout_s=60) as pool:
        tracemalloc.start()
        try:
            answers = pool.prepare([(largest, None), (bomb, None)] * 2)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert code_of(answers[0]) == "prepared"
    assert peak < 4 * 1024**2


def test_an_interrupted_call_leaves_no_answer_behind(
    cell: Path, stuck: Path, pool: DecoderPool
) -> None:
    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        with pytest.raises(KeyboardInterrupt):
            pool.prepare([(stuck, None), (stuck, None)])
    finally:
        signal.signal(signal.SIGALRM, previous)
    assert [code_of(a) for a in pool.prepare([(cell, None)] * 4)] == ["prepared"] * 4


def test_a_process_is_renewed_now_and_then(
    cell: Path, pool: DecoderPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("classifier.imaging.pool._MAX_SERVED", 3)
    before = set(pool.pids)
    assert [code_of(a) for a in pool.prepare([(cell, None)] * 12)] == ["prepared"] * 12
    assert not before & set(pool.pids)


def test_a_decoder_that_talks_nonsense_is_not_believed(
    cell: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    impostor = tmp_path / "impostor"
    impostor.write_text(
        f"#!{sys.executable}\nimport os, sys, time\n"
        "os.write(int(sys.argv[3]), b'\\xff' * 8)\ntime.sleep(30)\n"
    )
    impostor.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(impostor))
    with DecoderPool(1) as pool:
        assert [code_of(answer) for answer in pool.prepare([(cell, None)])] == ["damaged"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"P",
        b"P" + b"\x00" * 100,
        b"X",
        b"X5",
        b"X[1]",
        b'X["fine", "It is."]',
        b"Rest",
        b'X{"a": 1}',
    ],
)
def test_an_answer_no_decoder_gives_is_refused(body: bytes) -> None:
    with pytest.raises(protocol.ProtocolError):
        protocol.decode_answer(body)


@pytest.mark.parametrize("after_s", [0.0, 0.2])
def test_decoders_that_cannot_start_are_reported(
    after_s: float, cell: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Also those that have been sent an image by then, which is not to blame.
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\nsleep {after_s}\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with DecoderPool(2) as pool, pytest.raises(DecoderPoolError, match="while they start"):
        pool.prepare([(cell, None)])


def test_decoders_end_with_their_parent() -> None:
    program = (
        "import time; from classifier.imaging.pool import DecoderPool\n"
        "pool = DecoderPool(2); pool.start(); print(*pool.pids, flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        parent.kill()
    assert len(pids) == 2
    deadline = time.monotonic() + 20
    while any(is_running(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(is_running(pid) for pid in pids)


def is_running(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def test_decoders_are_light_and_know_no_secrets(
    cell: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WBCLAB_SECRET_KEY", "known to the server only")
    with DecoderPool(1) as pool:
        pool.prepare([(cell, None)])
        environment = Path(f"/proc/{pool.pids[0]}/environ").read_bytes()
        libraries = Path(f"/proc/{pool.pids[0]}/maps").read_text()
    assert b"known to the server only" not in environment
    assert "onnxruntime" not in libraries
    imported = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, classifier.imaging.decoder_process; print(*sys.modules)",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert not {"django", "onnxruntime", "tensorflow", "keras", "pydicom"} & set(imported)
