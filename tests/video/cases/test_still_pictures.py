"""Pictures that stay: at the end, without packets of their own, or for longer than there are."""

import shutil
import subprocess
from fractions import Fraction

import numpy as np
import pytest
from video_files import find_shown_index, write_grey_video

from tempme_jax.search.indexing import schedule
from tempme_jax.search.indexing.probe import Source
from tempme_jax.search.indexing.reading import scan_file
from tempme_jax.search.indexing.schedule import Schedule
from tempme_jax.video.changes import list_changes
from tempme_jax.video.clock import PLAIN
from tempme_jax.video.frames import read_at, read_frames
from tempme_jax.video.timeline import FrameIndex, scan
from tempme_jax.video.windows import Sampling, cut_by_frames, cut_into_windows


def add_repeats(path, count, key_frame):
    """Add a page to an Ogg file that repeats the last frame `count` times, as empty packets."""
    content = path.read_bytes()
    last = content[content.rindex(b"OggS") :]
    page = bytearray(b"OggS\0\4" + ((key_frame << 6) + count).to_bytes(8, "little"))
    number = int.from_bytes(last[18:22], "little") + 1
    page += last[14:18] + number.to_bytes(4, "little") + bytes(4) + bytes([count]) + bytes(count)
    checksum = 0
    for byte in page:
        checksum ^= byte << 24
        for _ in range(8):
            checksum = (checksum << 1) ^ (0x104C11DB7 if checksum >> 31 else 0)
    page[22:26] = checksum.to_bytes(4, "little")
    path.write_bytes(content + page)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the program ffmpeg")
def test_theora_that_ends_with_a_still(tmp_path):
    path, raw = tmp_path / "still.ogv", bytes(96 * 64 * 3) * 20 + b"\xc8" * (96 * 64 * 3) * 101
    size = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "96x64", "-r", "10", "-i", "-"]
    command = ["ffmpeg", "-loglevel", "error", *size, "-c:v", "libtheora", "-q:v", "5", path]
    subprocess.run(command, input=raw, check=True)
    # ffmpeg does not store the repeats after the last frame, which is a key frame.
    assert float(scan(str(path)).length) == pytest.approx(12.1)
    add_repeats(path, 4, key_frame=121)
    index = scan(str(path))
    assert float(index.length) == pytest.approx(12.5)
    assert list_changes(path) == ["still picture at the end, 0.4 s"]
    assert [int(frame.mean()) > 99 for frame in read_frames(path, 5)] == [False] + [True] * 4
    [frame], [time] = read_at(path, lambda length: [length - Fraction(1, 100)])
    assert frame.mean() > 99 and time == pytest.approx(12.0)


def test_frames_that_an_avi_leaves_out(tmp_path):
    times = [0, 1, 2, 20, 21]  # packets without content are stored for those between
    for codec in ("mpeg4", "mjpeg"):
        options = {"strict": "-2", "b": "4000000"}
        path = write_grey_video(tmp_path / f"{codec}.avi", times, codec, **options)
        assert float(scan(str(path)).length) == pytest.approx(2.2)
        frames, at = read_at(path, lambda length: [0.15, 1.95, 2.05])
        assert [find_shown_index(frame) for frame in frames] == [1, 2, 3]
        assert at.tolist() == pytest.approx([0.1, 0.2, 2.0])


def patch_first_duration(path, ticks):
    """Let the first frame of an mp4 last for `ticks` units of its track."""
    content = bytearray(path.read_bytes())
    place = content.index(b"stts") + 8
    count = int.from_bytes(content[place : place + 4])
    assert count == 2  # the first two frames, and the others
    content[place + 8 : place + 12] = ticks.to_bytes(4)
    path.write_bytes(content)


def test_a_frame_that_claims_to_last_for_days(tmp_path):
    path = write_grey_video(tmp_path / "a.mp4", [0, *range(2, 50)], g="10", bf="0")
    patch_first_duration(path, 0x7FFFFFFF)
    scanned = scan_file(source := Source(key="a", file=str(path)))
    assert scanned.index.length > 50 * 3600
    plan = Schedule([], Sampling(frames=12), 48, scanners=1, decoders=1)
    list(plan.take_result(source, scanned))
    [video] = plan._videos
    assert len(video.windows) < 5
    assert video.windows[0].start == 0
    assert video.windows[-1].end == scanned.index.length
    assert schedule.WINDOWS_PER_PIECE >= 5


def test_windows_are_those_that_are_left_of_all(tmp_path):
    random = np.random.default_rng(0)
    for rate, overlap in ((1, 0.5), (1 / 3, 0.0), (4, 0.9), (7, 0.75)):
        times = sorted({0, *random.integers(0, 2000, 12).tolist()})
        index = FrameIndex(times, [], Fraction(2010, 10), Fraction(1, 10), Fraction(0), PLAIN)
        sampling = Sampling(frames=5, fps=rate, overlap=overlap)
        expected = []
        for window in cut_into_windows(index.length, sampling):
            shown = index.find_shown(window.moments)
            if expected and shown[0] == shown[-1] and expected[-1][1] == shown:
                expected[-1] = expected[-1][0]._replace(end=window.end), shown
            else:
                expected.append((window, shown))
        assert list(zip(*cut_by_frames(index, sampling), strict=True)) == expected


def test_slides_are_one_window_each(tmp_path):
    path = write_grey_video(tmp_path / "slides.mkv", [0, 600, 1200, 1201], bf="0")
    index = scan(str(path))
    sampling = Sampling(frames=12)
    joined, times = cut_by_frames(index, sampling)
    windows = cut_into_windows(index.length, sampling)
    spans = [(float(window.start), float(window.end)) for window in joined]
    alone = [span for span, shown in zip(spans, times, strict=True) if len({*shown}) == 1]
    assert alone == [(0, 60), (60, 120)]
    assert len(joined) < 6 < 18 < len(windows)
    assert all(joined[i + 1].start <= joined[i].end for i in range(len(joined) - 1))
