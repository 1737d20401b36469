"""What is transparent is shown on black, not in the hidden colours."""

import numpy as np
import pytest
from pixel_files import write_pixels

from tempme_jax.video.frames import read_frames
from tempme_jax.video.pixels import blend_on_black

FAST = {"cpu-used": "8", "deadline": "realtime", "auto-alt-ref": "0"}


def draw_hole():
    picture = np.zeros((96, 192, 4), np.uint8)
    picture[..., 0] = picture[..., 2] = 255
    picture[24:72, 48:144] = (20, 200, 20, 255)
    return picture


@pytest.mark.parametrize(
    ("name", "codec", "kind"),
    [
        ("a.mov", "prores_ks", "yuva444p10le"),
        ("a.mov", "qtrle", "argb"),
        ("a.mov", "png", "rgba"),
        ("a.mkv", "ffv1", "yuva420p"),
        ("a.webm", "libvpx-vp9", "yuva420p"),
        ("a.webm", "libvpx", "yuva420p"),
    ],
)
def test_black_behind(tmp_path, name, codec, kind):
    options = {"profile": "4"} if codec == "prores_ks" else {}
    options |= {**FAST, "g": "4"} if codec.startswith("libvpx") else {}
    path = write_pixels(tmp_path / name, [draw_hole()] * 12, codec, kind, given="rgba", **options)
    for frame in [*read_frames(path, 12), read_frames(path, 1)[0]]:
        assert frame[2, 2].max() <= 3
        assert np.abs(frame[48, 96] - np.array([20, 200, 20])).max() < 12


def test_opaque_videos_of_such_formats_are_unchanged(tmp_path):
    picture = draw_hole()
    picture[..., 3] = 255
    path = write_pixels(tmp_path / "a.mov", [picture], "qtrle", "argb", given="rgba")
    np.testing.assert_array_equal(read_frames(path, 1)[0], picture[..., :3])


def test_raw_videos_whose_alpha_was_left_empty(tmp_path):
    picture = draw_hole()
    picture[..., 3] = 0
    path = write_pixels(tmp_path / "a.avi", [picture], "rawvideo", "bgra", given="rgba")
    np.testing.assert_array_equal(read_frames(path, 1)[0], picture[..., :3])


def test_blend():
    pixels = np.array([[[255, 100, 0], [255, 100, 0]]], np.uint8)
    blended = blend_on_black(pixels, np.array([[128, 0]], np.uint8))
    assert blended.tolist() == [[[128, 50, 0], [0, 0, 0]]]
