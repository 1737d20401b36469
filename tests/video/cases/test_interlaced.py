"""Interlaced frames show one moment, without combs."""

import numpy as np
import pytest
from pixel_files import write_pixels

from tempme_jax.video.frames import read_frames

INTERLACED = {
    "mpeg2video": {"flags": "+ildct+ilme", "q:v": "2", "qmin": "2", "qmax": "2"},
    "libx264": {"x264opts": "tff=1", "crf": "10"},
}


def draw_bar(left):
    picture = np.full((96, 192, 3), 30, np.uint8)
    picture[20:76, left : left + 16] = 255
    return picture


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mpg", "mpeg2video"), ("a.ts", "mpeg2video"), ("a.mp4", "libx264")]
)
def test_no_combs(tmp_path, name, codec):
    pictures = []
    for i in range(20):
        picture = draw_bar(8 * i)
        picture[1::2] = draw_bar(8 * i + 4)[1::2]  # the second field comes later
        pictures.append(picture)
    path = write_pixels(tmp_path / name, pictures, codec, rate=25, **INTERLACED[codec])
    for frame in read_frames(path, 20)[2:18]:
        left = [int(np.flatnonzero(row[:, 0] > 128)[0]) for row in frame[30:60]]
        assert max(left) - min(left) <= 1


def test_pictures_that_are_only_flagged_keep_their_detail(tmp_path):
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (24, 48, 3)).astype(np.float64)
    rows, columns = np.linspace(0, 22.99, 96), np.linspace(0, 46.99, 192)
    top, left = rows.astype(int)[:, None], columns.astype(int)[None]
    down, right = (rows % 1)[:, None, None], (columns % 1)[None, :, None]
    upper = coarse[top, left] * (1 - right) + coarse[top, left + 1] * right
    lower = coarse[top + 1, left] * (1 - right) + coarse[top + 1, left + 1] * right
    picture = (upper * (1 - down) + lower * down).astype(np.uint8)
    flagged = write_pixels(
        tmp_path / "a.mp4", [picture] * 3, kind="yuv444p", **INTERLACED["libx264"]
    )
    plain = write_pixels(tmp_path / "b.mp4", [picture] * 3, kind="yuv444p", crf="10")
    error, usual = (
        ((read_frames(path, 1)[0] - picture.astype(float)) ** 2).mean() for path in (flagged, plain)
    )
    assert error < 2 * usual + 2  # PSNR above 40 dB


@pytest.mark.parametrize("kind", ["yuv422p10le", "yuv444p"])
def test_other_pixel_formats(tmp_path, kind):
    pictures = [draw_bar(40)] * 3
    path = write_pixels(tmp_path / "a.mov", pictures, "libx264", kind, **INTERLACED["libx264"])
    assert np.abs(read_frames(path, 1)[0].astype(int) - pictures[0]).mean() < 3
