"""Packets without a time of display, or with an impossible one, hold frames like all others."""

import itertools

import av
import numpy as np
import pytest
from video_files import compute_brightness, find_shown_index

from tempme_jax.video.changes import list_changes
from tempme_jax.video.frames import read_frames
from tempme_jax.video.timeline import scan

RATE, COUNT = 25, 45
REORDERED = {"bf": "3", "b-adapt": "0", "b-pyramid": "strict", "g": "200", "qp": "5"}


def write(path, *, start=0, codec="libx264", options=REORDERED, **settings):
    """Write frames of rising brightness, so small that several share a packet of MPEG-PS."""
    with av.open(str(path), "w", **settings) as container:
        stream = container.add_stream(codec, rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(COUNT):
            picture = np.full((48, 64, 3), compute_brightness(i), np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = start + i
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def list_untimed(path):
    with av.open(str(path)) as container:
        packets = itertools.takewhile(lambda packet: packet.size, container.demux(video=0))
        return [packet.pts is None for packet in packets]


def check(path):
    assert float(scan(str(path)).length) == pytest.approx(COUNT / RATE, abs=0.002)
    assert [find_shown_index(frame) for frame in read_frames(path, COUNT)] == list(range(COUNT))
    assert list_changes(path) == ["frames without times of display"]


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_small_frames_in_mpeg_ps(tmp_path, codec):
    options = {"x265-params": "log-level=none:pools=none:frame-threads=1:bframes=3:qp=5"}
    options = REORDERED if codec == "libx264" else options
    path = write(tmp_path / "a.mpg", codec=codec, options=options)
    assert COUNT / 2 < sum(list_untimed(path)) < COUNT
    check(path)


@pytest.mark.parametrize("seconds", [0.2, 1])
def test_times_before_zero_in_matroska(tmp_path, seconds):
    early = round(seconds * RATE)
    path = write(
        tmp_path / "a.mkv", start=-early, container_options={"avoid_negative_ts": "disabled"}
    )
    assert sum(list_untimed(path)) >= early
    check(path)
