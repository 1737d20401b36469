"""Windows read in child processes are the right frames, and a bad file leaves the others alone."""

import contextlib
import io
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from repository import ROOT
from video_files import compute_brightness, encode, encode_sound, find_shown_index

from tempme_jax.search.indexing import reading, schedule
from tempme_jax.search.indexing.probe import Source, probe_file, probe_files
from tempme_jax.search.indexing.reading import Piece, read_windows
from tempme_jax.video.container import VideoError
from tempme_jax.video.decoding import FrameReader
from tempme_jax.video.fingerprint import BLOCK, EDGE, WHOLE
from tempme_jax.video.frames import read_frames, read_timestamps, select_keyframes
from tempme_jax.video.timeline import scan
from tempme_jax.video.windows import Sampling

SIDE = 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("videos")


def write(path, times, size=(48, 64), **options):
    """A video whose frame i has compute_brightness(i) and comes at times[i] tenths of a second."""
    noise = np.random.default_rng(0).integers(-12, 13, (*size, 3))
    pictures = [(compute_brightness(i) + noise).astype(np.uint8) for i in range(len(times))]
    return encode(path, pictures, times=list(times), **{"preset": "ultrafast"} | options)


@pytest.fixture(scope="module")
def long(folder):
    """40 s; frame i is on screen from 0.8 i seconds on."""
    return write(folder / "long.mp4", range(0, 400, 8), g="5")


@pytest.fixture(scope="module")
def short(folder):
    """2.5 s, 25 frames, upright only when it is turned."""
    return write(folder / "short.mp4", range(25), size=(24, 800), rotation=(90,), g="10")


def source(path):
    return Source(key=f"key of {path.name}", file=str(path))


def read(*paths, frames=12, workers=1, **options):
    sampling = Sampling(frames=frames, **options)
    with contextlib.closing(
        read_windows(map(source, paths), sampling, image_size=SIDE, workers=workers)
    ) as items:
        return list(items)


def join_pieces(pieces):
    spans = [span for piece in pieces for span in piece.spans]
    thumbnails = [thumbnail for piece in pieces for thumbnail in piece.thumbnails]
    return spans, np.concatenate([piece.frames for piece in pieces]), thumbnails


def find_indices(frames):
    return [[find_shown_index(frame) for frame in window] for window in frames]


def test_a_short_video_is_read_as_read_frames_does(short):
    (piece,) = read(short, frames=8)
    assert (piece.key, piece.seconds, piece.last) == ("key of short.mp4", 2.5, True)
    assert piece.spans == [(0, 2.5)]
    np.testing.assert_array_equal(piece.frames, read_frames(short, 8, image_size=SIDE)[None])
    (thumbnail,) = map(Image.open, map(io.BytesIO, piece.thumbnails))
    assert (thumbnail.format, thumbnail.size) == ("JPEG", (10, 320))  # of 24 x 800, turned
    assert find_shown_index(np.asarray(thumbnail)) == 14  # on screen at 8.5 / 16 of 2.5 s


def test_windows_of_a_long_video(long, monkeypatch):
    (whole,) = read(long)
    length = float(scan(str(long)).length)
    assert whole.spans == [(0, 12), (6, 18), (12, 24), (18, 30), (24, 36), (28, length)]
    moments = [[start + i + 0.5 for i in range(12)] for start in (0, 6, 12, 18, 24, 28)]
    expected = [[min(int(moment / 0.8), 49) for moment in window] for window in moments]
    assert whole.frames.shape == (6, 12, SIDE, SIDE, 3)
    assert whole.frames.dtype == np.uint8
    assert find_indices(whole.frames) == expected
    pictures = [np.asarray(Image.open(io.BytesIO(file))) for file in whole.thumbnails]
    assert {picture.shape for picture in pictures} == {(48, 64, 3)}
    assert [find_shown_index(picture) for picture in pictures] == [window[6] for window in expected]

    monkeypatch.setattr(schedule, "WINDOWS_PER_PIECE", 2)
    pieces = read(long, workers=2)
    assert [piece.last for piece in pieces] == [False, False, True]
    assert [len(piece.frames) for piece in pieces] == [len(p.thumbnails) for p in pieces] == [2] * 3
    spans, frames, thumbnails = join_pieces(pieces)
    assert (spans, thumbnails) == (whole.spans, whole.thumbnails)
    np.testing.assert_array_equal(frames, whole.frames)


CRASHING = """
import os, time
from tempme_jax.search.indexing import reading

def work_on(request):
    if "slow" in request.file:
        time.sleep(1.5)
    if "crash" in request.file and getattr(request, "times", [0])[0] > 0:
        os.abort()
    return reading.work_on(request)
"""


def test_bad_files_are_said_and_the_others_go_on(long, short, folder, tmp_path, monkeypatch):
    (tmp_path / "crashing.py").write_text(CRASHING)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(schedule, "WINDOWS_PER_PIECE", 3)
    monkeypatch.setattr(reading, "work_on", __import__("crashing").work_on)
    text, crash = folder / "text.mp4", folder / "crash.mp4"
    text.write_text("A text about a cat.\n" * 100)
    crash.write_bytes(long.read_bytes())
    sound = encode_sound(folder / "sound.mp4")
    slow = shutil.copy(short, folder / "slow.mp4")
    items = read(slow, text, short, folder / "missing.mp4", crash, sound, long)
    assert items[-1].key == "key of slow.mp4"  # nothing waits for it
    groups = {item.key.split()[-1][:-4]: [] for item in items}
    for item in items:
        groups[item.key.split()[-1][:-4]].append(item)
    *before, failed = groups["crash"]
    assert all(isinstance(piece, Piece) and not piece.last for piece in before)
    assert failed[1:] == ("decode", "crashed the process that decoded it (SIGABRT)")
    assert [len(groups[name]) for name in ("short", "long", "slow")] == [1, 2, 1]
    assert {name: group[0][1:] for name, group in groups.items() if len(group[0]) == 3} == {
        "text": ("scan", "not a video (text)"),
        "missing": ("scan", "no such file"),
        "sound": ("scan", "no video stream (audio only)"),
    } | ({} if before else {"crash": failed[1:]})


def test_a_video_that_lasts_for_centuries(long, monkeypatch):
    monkeypatch.setattr(reading, "MAX_HOURS", 0.01)
    with pytest.raises(VideoError, match=r"0 hours long \(at most 0\.01; damaged\?\)"):
        reading.scan_file(source(long))


def test_no_process_stays_when_reading_ends_early(long):
    taken = []
    sources = (taken.append(i) or source(long) for i in range(1000))
    items = read_windows(sources, Sampling(frames=4), image_size=SIDE, workers=1)
    assert isinstance(next(items), Piece)
    assert len(multiprocessing.active_children()) == 3
    assert len(taken) < 20
    with pytest.raises(ZeroDivisionError):
        items.throw(ZeroDivisionError)
    assert multiprocessing.active_children() == []


PROGRAM = """
import itertools, sys
from tempme_jax.search.indexing.reading import Sampling, Source, read_windows
sources = itertools.repeat(Source(key="a", file=sys.argv[1]))
for piece in read_windows(sources, Sampling(frames=4), image_size=16, workers=1):
    print(len(piece.frames), flush=True)
"""


def test_interrupt_ends_all_processes(long):
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(long)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        start_new_session=True,
        text=True,
    ) as process:
        assert process.stdout.readline() == "19\n"
        os.killpg(process.pid, signal.SIGINT)  # as the terminal does
        _, said = process.communicate(timeout=20)  # until the last process closed the pipes
    assert process.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in said


def test_probe_in_child_processes(long, folder):
    os.mkfifo(folder / "fifo.mp4")
    files = [long, folder / "fifo.mp4", folder, folder / "missing.mp4"]
    probed = list(probe_files(map(source, files), workers=1))
    assert [given for given, _ in probed] == [source(file) for file in files]
    assert probed[0][1] == probe_file(source(long))
    assert [error.reason for _, error in probed[1:]] == [
        "not a regular file",
        "not a regular file",
        "no such file",
    ]


def test_content_is_that_of_the_bytes(short, tmp_path):
    moved, changed = tmp_path / os.fsdecode(b"moved \xff.mp4"), tmp_path / "changed.mp4"
    moved.write_bytes(short.read_bytes())
    changed.write_bytes(short.read_bytes()[:-1] + b"x")
    found = [probe_file(source(path)) for path in (short, moved, changed)]
    assert [probed.seconds for probed in found] == [2.5] * 3
    assert {probed.size for probed in found} == {short.stat().st_size}
    assert found[1].mtime_ns == moved.stat().st_mtime_ns
    assert found[0].samples == found[1].samples != found[2].samples
    assert found[0].whole == found[1].whole != found[2].whole
    assert len(bytes.fromhex(found[0].samples)) == 16


def test_large_files_are_sampled(short, tmp_path):
    path = tmp_path / "large.mp4"
    path.write_bytes(short.read_bytes())
    size = 10 * 2**30
    os.truncate(path, size)
    empty = probe_file(source(path)).samples
    between = (size - 2 * EDGE - BLOCK) // 32
    for where, seen in ((size - 1, True), (EDGE + between, True), (EDGE + between - 1, False)):
        with open(path, "r+b") as file:
            file.seek(where)
            file.write(b"x")
            file.flush()
            assert (probe_file(source(path)).samples != empty) == seen
            file.seek(where)
            file.write(b"\0")
    os.truncate(path, size + 1)
    assert probe_file(source(path)).samples != empty
    assert WHOLE > 2 * EDGE + 16 * BLOCK


def test_pieces_of_an_mpeg_ts_are_found_by_seeking(tmp_path, monkeypatch):
    path = write(tmp_path / "video.ts", range(50), g="5", bf="2", preset="medium", sc_threshold="0")
    index = scan(str(path))
    decoded = []
    decode = FrameReader._decode

    def count_frames(*args):
        for frame in decode(*args):
            decoded.append(frame.pts)
            yield frame

    monkeypatch.setattr(FrameReader, "_decode", count_frames)
    times = index.times[41:46]
    near = select_keyframes(times, index.keyframes)
    assert len(near) <= 5
    frames, _ = read_timestamps(path, times, near, image_size=SIDE)
    assert [find_shown_index(frame) for frame in frames] == [41, 42, 43, 44, 45]
    assert index.times[0] not in decoded
