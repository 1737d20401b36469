"""Videos are decoded in processes of their own, and what goes wrong there stays there."""

import collections
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import pytest
from pebble import ProcessFuture
from repository import ROOT
from video_files import decode_or_worse, exit_at_once, find_shown_indices, write_grey_video

from tempme_jax.video import pool
from tempme_jax.video.frames import VideoError, read_frames
from tempme_jax.video.pixels import encode_jpeg
from tempme_jax.video.workers import Request, decode_all, decode_file


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """Five seconds, ten frames each."""
    return write_grey_video(tmp_path_factory.mktemp("videos") / "good.mp4", range(50))


def make_request(path, **options):
    return Request(file=str(path), size=32, **{"fps": 2, "least": 4, "most": 12} | options)


def list_seconds(request, length):
    return [float(moment) for moment in request.choose_times(Fraction(length))]


def test_frames_every_so_often():
    assert list_seconds(make_request("a.mp4"), 2.5) == [0, 0.5, 1, 1.5, 2]
    assert list_seconds(make_request("a.mp4", start=1.25, end=3.5), 60) == [
        1.25,
        1.75,
        2.25,
        2.75,
        3.25,
    ]
    third = Request(file="a.mp4", fps=1 / 3, least=1).choose_times(Fraction(10))
    assert third == [0, 3, 6, 9]


def test_short_and_long_videos_are_spread_over():
    assert list_seconds(make_request("a.mp4"), 1) == [0.125, 0.375, 0.625, 0.875]
    assert list_seconds(make_request("a.mp4", end=50), 48) == [2 + 4 * i for i in range(12)]
    assert list_seconds(make_request("a.mp4", fps=None), 48) == [6, 18, 30, 42]


def test_part_behind_the_end():
    with pytest.raises(VideoError, match=r"a\.mp4: 10\.0 s long; nothing from 12 s to 20 s"):
        make_request("a.mp4", start=12, end=20).choose_times(Fraction(10))


def test_part_of_a_file(good):
    frames, times = decode_file(make_request(good, start=1.05, end=2.9))
    assert times == pytest.approx([1, 1.5, 2, 2.5])
    assert find_shown_indices(frames) == [10, 15, 20, 25]


def test_evenly_spread_frames_are_those_of_read_frames(good):
    frames, _ = decode_file(make_request(good, fps=None, least=6))
    pictures = read_frames(good, 6, image_size=32)
    assert frames == [encode_jpeg(picture, 95) for picture in pictures]


def test_what_goes_wrong_is_said_and_the_others_go_on(good, tmp_path):
    names = "good abort hang good2 greedy raise empty good3".split()
    paths = {name: tmp_path / f"{name}.mp4" for name in names}
    for path in paths.values():
        path.write_bytes(b"" if path.stem == "empty" else good.read_bytes())
    requests = [make_request(path) for path in paths.values()]
    pairs = decode_all(requests, workers=2, seconds=2, memory=2**30, decode=decode_or_worse)
    given, results = zip(*pairs, strict=True)
    assert given == tuple(requests)
    results = dict(zip(names, results, strict=True))
    for name in ("good", "good2", "good3"):
        assert find_shown_indices(results.pop(name).frames) == list(range(0, 50, 5))
    assert all(error.path == str(paths[name]) for name, error in results.items())
    assert {name: error.reason for name, error in results.items()} == {
        "abort": "crashed the process that decoded it (SIGABRT)",
        "hang": "nothing was decoded for 2 s",
        "greedy": "needs more than 1.0 GiB to decode",
        "raise": "ZeroDivisionError: no such luck",
        "empty": "an empty file",
    }


LIST_MODULES = "__import__('tempme_jax.video.workers') and list(__import__('sys').modules)"


def test_children_load_no_heavy_libraries():
    # Any function will do that is no part of the tests, which import all kinds of things.
    ((_, modules),) = decode_all([LIST_MODULES], workers=1, decode=eval)
    assert "tempme_jax.video.frames" in modules
    assert not {"jax", "flax", "tensorflow", "tensorflow_datasets", "pytest"} & {*modules}


def test_process_that_is_killed_while_it_waits():
    results = decode_all(["1"] * 12, workers=1, decode=eval)
    assert next(results) == ("1", 1)
    time.sleep(0.5)  # by now it has done what was asked of it ahead
    (child,) = multiprocessing.active_children()
    child.kill()
    child.join()
    time.sleep(0.5)
    assert list(results) == [("1", 1)] * 11


def test_processes_that_cannot_run_are_an_error(good, monkeypatch):
    def fail(number, frame):
        raise AssertionError("decoding went on for too long")

    monkeypatch.setattr(pool, "_prepare_child", exit_at_once)
    signal.signal(signal.SIGALRM, fail)
    signal.alarm(30)
    try:
        with pytest.raises(RuntimeError, match="end or stall as soon as they are started"):
            list(decode_all([make_request(good)], workers=1, memory=7))
    finally:
        signal.alarm(0)


def test_pool_that_broke_is_not_waited_for():
    processes = pool.Pool(1, seconds=60, total=None, memory=2**30, decode=eval)
    waiting = collections.deque([("1", ProcessFuture())])  # which the pool has lost
    processes._processes.stop()
    processes.wait(waiting)
    assert not waiting[0][1].done()
    processes.restart(waiting)
    assert waiting[0][1].result() == 1
    processes.close()


# Without a guard for children that would run it, which they do not.
PROGRAM = """
from tempme_jax.video.workers import decode_all
for _, result in decode_all(["__import__('time').sleep(0.1) or 12"] * 500, workers=2, decode=eval):
    print(result, flush=True)
"""


def list_processes(session):
    """The numbers of the processes of a session that are alive."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:  # it has just ended
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_process_stays_behind(number):
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        start_new_session=True,
        text=True,
    ) as process:
        assert process.stdout.readline() == "12\n"
        assert len(list_processes(process.pid)) >= 3
        os.kill(process.pid, number)
        _, said = process.communicate(timeout=20)
    assert process.returncode == -number
    assert ("KeyboardInterrupt" in said) == (number == signal.SIGINT)
    patience = time.monotonic() + 10
    while list_processes(process.pid) and time.monotonic() < patience:
        time.sleep(0.05)
    assert list_processes(process.pid) == []
