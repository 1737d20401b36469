"""Frames have their display shape: pixels of DVDs and camcorders are not square."""

import io
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image
from pixel_files import add_frames, draw_quadrants, pick_corners, write_pixels

from tempme_jax.video.frames import read_frames, read_timestamps, scan
from tempme_jax.video.player import stretch


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_display_shape(tmp_path, name):
    path = write_pixels(tmp_path / name, [draw_quadrants(96, 96)] * 3, aspect=2)
    frames = read_frames(path, 2)
    assert frames.shape == (2, 96, 192, 3)
    assert np.abs(pick_corners(frames[0]) - pick_corners(draw_quadrants())).max() < 6
    # The centre of the wide picture is cropped.
    cropped = read_frames(path, 1, image_size=48)[0]
    assert np.abs(pick_corners(cropped) - pick_corners(draw_quadrants())).max() < 6


def test_thumbnails_too(tmp_path):
    path = str(write_pixels(tmp_path / "a.mp4", [draw_quadrants(96, 96)], aspect=2))
    index = scan(path)
    _, thumbnails = read_timestamps(
        path, index.times, index.keyframes, image_size=32, pictured=index.times
    )
    assert Image.open(io.BytesIO(thumbnails[index.times[0]])).size == (192, 96)


def test_aspect_ratio_changes_with_a_key_frame(tmp_path):
    picture = np.zeros((96, 96, 3), np.uint8)
    picture[:, 40:56] = 250
    for name, aspect in (("a.ts", 1), ("b.ts", 2)):
        write_pixels(tmp_path / name, [picture] * 20, aspect=aspect)
    path = tmp_path / "both.ts"
    path.write_bytes((tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes())
    widths = [(frame[32, :, 0] > 125).sum() for frame in read_frames(path, 40, image_size=96)]
    assert all(abs(width - 16) < 3 for width in widths[:20])
    assert all(abs(width - 32) < 3 for width in widths[20:])
    # Whole frames all have the shape of the first.
    assert read_frames(path, 8).shape == (8, 96, 96, 3)


@pytest.mark.parametrize(
    ("aspect", "expected"),
    [
        (None, (720, 576)),
        (Fraction(16, 15), (768, 576)),
        (Fraction(8, 9), (640, 576)),
        (Fraction(1, 1000), (720, 576)),
        (Fraction(65535), (720, 576)),
        (Fraction(0), (720, 576)),
        (Fraction(1, 16), (45, 576)),
    ],
)
def test_what_cannot_be_true_is_left_out(aspect, expected):
    assert stretch(720, 576, aspect) == expected
    assert stretch(1, 1, Fraction(1, 9)) == (1, 1)
    assert stretch(8192, 4320, Fraction(2)) == (8192, 4320)


def test_the_turn_comes_after(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.set_display_rotation(90)
        add_frames(container, stream, [draw_quadrants(96, 96)], aspect=2)
    frame = read_frames(path, 1)[0]
    assert frame.shape == (192, 96, 3)
    assert np.abs(pick_corners(frame) - pick_corners(np.rot90(draw_quadrants()))).max() < 6
