"""Colours follow the tags of a video; without them they are read as BT.601, as ffmpeg does it."""

import numpy as np
import pytest
from pixel_files import draw_quadrants, pick_corners, write_pixels

from tempme_jax.video.frames import read_frames

BT709, BT601, BT2020 = 1, 6, 9


@pytest.mark.parametrize("size", [(192, 96), (1280, 720)])
def test_untagged_is_bt601(tmp_path, size):
    path = write_pixels(tmp_path / "a.mp4", [draw_quadrants(*size)] * 2)
    error = pick_corners(read_frames(path, 1)[0]) - pick_corners(draw_quadrants())
    assert np.abs(error).max() < 6


@pytest.mark.parametrize("matrix", [BT709, BT2020])
@pytest.mark.parametrize("kind", ["yuv420p", "yuv420p10le"])
def test_tagged_is_as_tagged(tmp_path, matrix, kind):
    tags = {"colorspace": matrix, "color_range": 1, "color_primaries": matrix, "color_trc": 1}
    path = write_pixels(tmp_path / "a.mp4", [draw_quadrants()] * 2, kind=kind, tags=tags)
    error = pick_corners(read_frames(path, 1)[0]) - pick_corners(draw_quadrants())
    assert np.abs(error).max() < 6


@pytest.mark.parametrize(("matrix", "same_as"), [(8, None), (10, BT2020), (14, None), (3, None)])
def test_matrices_that_libav_does_not_know(tmp_path, matrix, same_as):
    picture, shown = draw_quadrants(), []
    for number, tag in enumerate((matrix, same_as)):
        tags = {"colorspace": tag, "color_range": 1} if tag else {}
        path = write_pixels(tmp_path / f"{number}.mkv", [picture], "ffv1", "yuv444p", tags=tags)
        shown.append(read_frames(path, 1)[0].astype(int))
    # The one was written with BT.601's matrix, whatever its tag says.
    if same_as is None:
        assert np.abs(shown[0] - shown[1]).max() <= 1
    else:
        assert np.abs(pick_corners(shown[1]) - pick_corners(picture)).max() < 3


@pytest.mark.parametrize("kind", ["gray10le", "gbrp12le", "yuv444p16le", "gray16le", "gbrp16le"])
def test_deep_frames_are_scaled(tmp_path, kind):
    ramp = np.tile(np.arange(0, 256, 4, dtype=np.uint8)[None, :, None], (48, 1, 3))
    deep = (ramp * 257.0).astype(np.uint16)
    path = write_pixels(tmp_path / "a.mkv", [deep], "ffv1", kind, given="rgb48le", strict="-2")
    assert np.abs(read_frames(path, 1)[0].astype(int) - ramp).max() <= 2
