"""Parts laid end to end, whose timestamps restart or jump, are shown one after the other."""

import av
import numpy as np
import pytest
from video_files import OPTIONS, compute_brightness, find_shown_index, write_grey_video

from tempme_jax.video.changes import list_changes
from tempme_jax.video.frames import read_at, read_frames
from tempme_jax.video.timeline import scan

RATE, COUNT = 25, 15
TEN_HOURS = 36_000 * RATE
CODECS = {"ts": "libx264", "vob": "mpeg2video", "mkv": "libx264"}


def write_part(folder, number, suffix, start=0):
    """Write a part of 15 frames, each brighter than the one before and those of earlier parts."""
    path, codec = folder / f"part{number}.{suffix}", CODECS[suffix]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE, options=OPTIONS[codec])
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(COUNT):
            brightness = compute_brightness(COUNT * number + i)
            picture = np.full((48, 64, 3), brightness, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = start + i
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def join(path, parts):
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


@pytest.mark.parametrize("starts", [(0, 0), (0, TEN_HOURS), (TEN_HOURS, 0), (0, TEN_HOURS, 0)])
@pytest.mark.parametrize("suffix", ["ts", "vob", "mkv"])
def test_all_parts_are_shown_in_order(tmp_path, suffix, starts):
    if suffix == "mkv" and any(starts):
        pytest.skip("a jump forward in Matroska is a gap")
    parts = [write_part(tmp_path, i, suffix, start) for i, start in enumerate(starts)]
    path = join(tmp_path / f"all.{suffix}", parts)
    count = COUNT * len(parts)
    assert float(scan(str(path)).length) == pytest.approx(count / RATE, abs=0.001)
    assert [find_shown_index(frame) for frame in read_frames(path, count)] == list(range(count))
    assert list_changes(path) == ["timestamps restart or jump"]
    assert list_changes(parts[0]) == []


def test_short_gaps_stay_and_long_ones_do_not(tmp_path):
    for seconds, expected in ((5, 1.2 + 5), (20, 1.2)):
        start = COUNT + seconds * RATE
        parts = write_part(tmp_path, 0, "ts"), write_part(tmp_path, 1, "ts", start)
        path = join(tmp_path / f"gap{seconds}.ts", parts)
        assert float(scan(str(path)).length) == pytest.approx(expected)
    frames, times = read_at(tmp_path / "gap5.ts", lambda length: [0.57, 3, 5.61])
    assert [find_shown_index(frame) for frame in frames] == [14, 15]
    assert times.tolist() == pytest.approx([0.56, 5.6])


def test_frames_that_are_reordered_are_no_restart(tmp_path):
    options = {"preset": "medium", "bf": "8", "b-adapt": "0", "b-pyramid": "strict", "g": "40"}
    for suffix in ("ts", "mkv"):
        path = write_grey_video(tmp_path / f"b.{suffix}", range(40), **options)
        index = scan(str(path))
        assert not index.clock.shifts
        assert len(index.keyframes) == 1
        assert [find_shown_index(frame) for frame in read_frames(path, 40)] == list(range(40))


def test_a_clock_that_runs_over(tmp_path):
    seconds = 2**33 / 90_000  # then the clock of MPEG-TS starts again
    path = write_part(tmp_path, 0, "ts", start=int(seconds * RATE) - 8)
    index = scan(str(path))
    assert index.clock.is_plain
    assert float(index.length) == pytest.approx(COUNT / RATE)
    frames = read_frames(path, COUNT)
    assert [find_shown_index(frame) for frame in frames] == list(range(COUNT))
