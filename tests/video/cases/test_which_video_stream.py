"""The film is the stream that ffmpeg chooses, not the first one."""

import av
import numpy as np
import pytest
from av.stream import Disposition
from pixel_files import RED, add_frames, draw_quadrants, set_up

from tempme_jax.video.container import VideoError
from tempme_jax.video.frames import read_frames
from tempme_jax.video.timeline import scan

SMALL, LARGE = (64, 48), (192, 96)


def write_streams(path, *streams, codecs=("libx264", "libx264")):
    """Each stream: size, number of frames, disposition."""
    with av.open(str(path), "w") as container:
        added = []
        for (size, count, disposition), codec in zip(streams, codecs, strict=True):
            stream = container.add_stream(codec, rate=10)
            stream.disposition = disposition
            kind = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            set_up(stream, size, kind)
            added.append((stream, [draw_quadrants(*size)] * count, kind))
        for each in added:
            add_frames(container, *each)
    return path


PLAIN, DEFAULT = Disposition(0), Disposition.default


@pytest.mark.parametrize(
    ("name", "first", "second", "width"),
    [
        ("a.mkv", (SMALL, 20, PLAIN), (LARGE, 20, DEFAULT), 192),
        ("a.mkv", (SMALL, 20, DEFAULT), (LARGE, 20, PLAIN), 64),
        ("a.mkv", (SMALL, 20, PLAIN), (LARGE, 20, PLAIN), 192),
        ("a.mkv", (LARGE, 20, PLAIN), (SMALL, 20, PLAIN), 192),
        ("a.ts", (SMALL, 20, PLAIN), (LARGE, 20, PLAIN), 192),
        ("a.mp4", (SMALL, 20, PLAIN), (LARGE, 20, DEFAULT), 192),
        ("a.mp4", (LARGE, 1, DEFAULT), (SMALL, 20, PLAIN), 64),  # one frame: a still picture
    ],
)
def test_largest_or_default(tmp_path, name, first, second, width):
    path = write_streams(tmp_path / name, first, second)
    assert read_frames(path, 2).shape[2] == width
    assert len(scan(str(path)).times) == 20


def test_still_picture_before_the_film(tmp_path):
    path = tmp_path / "a.mkv"
    write_streams(path, (SMALL, 1, PLAIN), (LARGE, 20, DEFAULT), codecs=("mjpeg", "libx264"))
    assert read_frames(path, 2).shape == (2, 96, 192, 3)


def test_what_cannot_be_decoded_is_passed_over(tmp_path):
    path = write_streams(tmp_path / "a.mkv", (SMALL, 20, PLAIN), (LARGE, 20, DEFAULT))
    head, codec, tail = path.read_bytes().rpartition(b"V_MPEG4/ISO/AVC")
    path.write_bytes(head + b"V_MPEG4/ISO/XYZ" + tail)
    frame = read_frames(path, 1)[0]
    assert frame.shape == (48, 64, 3)
    assert np.abs(frame[10, 10] - np.array(RED)).max() < 6
    path.write_bytes(head.replace(codec, b"V_MPEG4/ISO/XYZ") + b"V_MPEG4/ISO/XYZ" + tail)
    with pytest.raises(VideoError, match="cannot be decoded"):
        read_frames(path, 1)
