"""A run that is killed goes on as if it were not: the same losses and parameters, bit for bit."""

import functools
import signal
import time

import numpy as np
import pytest
import toy_run
from toy_run import finish, read_arrays, read_lines, start

STEPS = 12


pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return toy_run.make_home(tmp_path_factory)


@pytest.fixture(scope="module")
def whole(home):
    return toy_run.finish_whole(home)


def after_lines(workdir, count):
    file = workdir / "metrics.jsonl"
    return file.exists() and file.read_bytes().count(b"\n") >= count


def soon_after_start(workdir, seconds):
    """A moment so long after training begins, which is when it opens its file of metrics."""
    file, begun = workdir / "metrics.jsonl", []
    before = file.stat().st_ino if file.exists() else None

    def moment():
        if not begun and file.exists() and file.stat().st_ino != before:
            begun.append(time.monotonic())
        return bool(begun) and time.monotonic() >= begun[0] + seconds

    return moment


def during_save(workdir, kind, step):
    """Whether a checkpoint of this step or a later one is being written."""
    unfinished = (workdir / kind).glob("*-tmp*")
    return any(int(folder.name.partition(".")[0]) >= step for folder in unfinished)


def stop(process, moment, number):
    """Sends a signal when the moment has come; the process must not have ended before."""
    deadline = time.monotonic() + toy_run.SECONDS
    while not moment() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.0005)
    process.send_signal(number)
    return process.communicate(timeout=toy_run.SECONDS)


def assert_same_run(workdir, whole):
    assert read_lines(workdir) == read_lines(whole)
    for kind in ("last", "best"):
        (arrays, step), (expected, expected_step) = (
            read_arrays(workdir, kind),
            read_arrays(whole, kind),
        )
        assert step == expected_step
        assert arrays.keys() == expected.keys()
        for name, array in expected.items():
            np.testing.assert_array_equal(arrays[name], array, err_msg=name, strict=True)


def test_a_whole_run_has_every_step_once(whole):
    assert [line["step"] for line in read_lines(whole, "train")] == list(range(1, STEPS + 1))
    assert [line["step"] for line in read_lines(whole, "validation")] == [4, 8, 12]


@pytest.mark.slow
def test_killed_runs_go_on_as_if_they_had_not_been(home, whole, tmp_path):
    workdir = tmp_path / "run"
    killed = start(home, workdir)
    stop(killed, functools.partial(after_lines, workdir, 4), signal.SIGKILL)
    assert killed.returncode == -signal.SIGKILL

    killed = start(home, workdir)
    stop(killed, functools.partial(during_save, workdir, "last", 4), signal.SIGKILL)
    assert killed.returncode == -signal.SIGKILL

    asked = start(home, workdir)
    _, err = stop(asked, functools.partial(after_lines, workdir, 7), signal.SIGTERM)
    assert asked.returncode == 0, err
    reached = read_arrays(workdir, "last")[1]
    assert f"stopped after step {reached} of {STEPS}, which is saved" in err
    assert not (workdir / "results.json").exists()

    _, err = finish(start(home, workdir))
    assert f"resuming after step {reached} of {STEPS}" in err
    assert_same_run(workdir, whole)


@pytest.mark.slow
def test_ten_kills_at_random_moments(home, whole, tmp_path):
    workdir, rng = tmp_path / "run", np.random.default_rng()
    print("seed:", rng.bit_generator.seed_seq.entropy)
    codes = []
    for number in range(10):
        moment = soon_after_start(workdir, rng.uniform(0, 2))  # a run trains for about 2 s
        process = start(home, workdir)
        if number % 3 == 0:
            moment = functools.partial(during_save, workdir, rng.choice(["last", "best"]), 0)
        stop(process, moment, signal.SIGKILL)
        codes.append(process.returncode)
    assert codes.count(-signal.SIGKILL) >= 5  # the others had come to their end before
    finish(start(home, workdir))
    assert_same_run(workdir, whole)
