"""High dynamic range looks as in a standard-range player: phones record PQ and HLG."""

import colorsys

import numpy as np
import pytest
from pixel_files import pick_corners, signal_hdr, write_pixels
from video_files import AV1

from tempme_jax.video.frames import read_frames
from tempme_jax.video.hdr import HLG, PQ, map_to_standard_range

# Primaries, skin, greys, and colours between.
COLORS = np.array(
    [
        [(230, 20, 20), (20, 200, 20), (20, 20, 230), (240, 240, 240)],
        [(224, 172, 105), (141, 85, 36), (255, 219, 172), (128, 128, 128)],
        [(60, 60, 60), (255, 255, 0), (0, 255, 255), (255, 0, 255)],
        [(255, 128, 0), (100, 149, 237), (34, 139, 34), (40, 40, 40)],
    ],
    np.uint8,
)


def check_colors(seen, meant):
    """Hue within 15 degrees and lightness within 15 %."""
    for a, b in zip(seen.reshape(-1, 3), meant.reshape(-1, 3), strict=True):
        (hue, light, _), (hue_meant, light_meant, saturation) = (
            colorsys.rgb_to_hls(*(value / 255 for value in color)) for color in (a, b)
        )
        assert abs(light - light_meant) < 0.15 * light_meant, (a, b)
        turn = abs(hue - hue_meant) * 360
        assert saturation < 0.1 or min(turn, 360 - turn) < 15, (a, b)


@pytest.mark.parametrize("transfer", [PQ, HLG])
@pytest.mark.parametrize(
    ("name", "codec", "kind"),
    [
        ("a.mp4", "libx264", "yuv420p10le"),
        ("a.mp4", "libsvtav1", "yuv420p10le"),
        ("a.mkv", "ffv1", "gbrp12le"),
    ],
)
def test_colors_are_those_of_standard_range(tmp_path, transfer, name, codec, kind):
    picture = np.kron(COLORS, np.ones((32, 32, 1), np.uint8))
    tags = {"color_trc": transfer, "color_primaries": 9, "color_range": 1}
    tags |= {"color_range": 2} if kind == "gbrp12le" else {"colorspace": 9}
    options = AV1 | {"crf": "10"} if codec == "libsvtav1" else {}
    pictures = [signal_hdr(picture, transfer)] * 2
    path = write_pixels(
        tmp_path / name, pictures, codec, kind, given="rgb48le", tags=tags, **options
    )
    check_colors(read_frames(path, 1)[0, 16::32, 16::32], COLORS)
    np.testing.assert_array_equal(read_frames(path, 1, image_size=128), read_frames(path, 1))


def test_large_frames_are_reduced_before_they_are_mapped(tmp_path, monkeypatch):
    monkeypatch.setattr("tempme_jax.video.player.REDUCED_SIDE", 48)
    picture = np.kron(COLORS[:2, :2], np.ones((96, 96, 1), np.uint8))
    tags = {"color_trc": PQ, "color_primaries": 9, "colorspace": 9, "color_range": 1}
    path = write_pixels(
        tmp_path / "a.mp4",
        [signal_hdr(picture, PQ)],
        kind="yuv420p10le",
        given="rgb48le",
        tags=tags,
    )
    check_colors(pick_corners(read_frames(path, 1, image_size=32)[0]), COLORS[:2, :2])
    assert read_frames(path, 1).shape == (1, 192, 192, 3)


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_all_signals_in_order(transfer):
    grey = np.repeat(np.arange(0, 65536, 16, np.uint16)[None, :, None], 3, 2)
    mapped = map_to_standard_range(grey, transfer, 9)[0].astype(int)
    assert (np.diff(mapped, axis=0) >= -1).all()  # the tables have steps
    assert (mapped[0] == 0).all()
    assert (mapped[-1] >= 253).all()
    assert np.abs(mapped - mapped[:, :1]).max() <= 1  # grey stays grey
