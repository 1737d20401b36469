"""Pictures as queries look as in a viewer, whatever numbers they hold."""

import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from tempme_jax.search.query.frames import Picture, decode_picture
from tempme_jax.video.container import VideoError
from tempme_jax.video.pictures import read_picture

RAMP = np.tile(np.linspace(0, 1, 64), (48, 1))
GREY = np.round(RAMP * 255).astype(np.uint8)
COLORS = np.dstack([GREY, np.full_like(GREY, 30), np.full_like(GREY, 200)])


def save(path, values, mode=None, **options):
    image = Image.fromarray(values)
    (image.convert(mode) if mode else image).save(path, **options)
    return str(path)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("16.png", (RAMP * 65535).astype(np.uint16)),
        ("16.tif", (RAMP * 65535).astype(np.uint16)),
        ("16_in_32.tif", (RAMP * 65535).astype(np.int32)),
        ("signed.tif", np.maximum(RAMP * 1000, 0).astype(np.int32) * 2**20),
        ("32.tif", (RAMP * (2**31 - 1)).astype(np.int32)),
        ("8_in_32.tif", np.round(RAMP * 255).astype(np.int32)),
        ("1.tif", RAMP.astype(np.float32)),
        ("255.tif", (RAMP * 255).astype(np.float32)),
        ("1000.tif", (RAMP * 1000).astype(np.float32)),
        ("lights.tif", np.where(np.indices(RAMP.shape).sum(0) == 40, 9, RAMP).astype(np.float32)),
    ],
)
def test_deep_pictures_are_scaled(tmp_path, name, values):
    seen = read_picture(save(tmp_path / name, values))
    assert (seen.shape, seen.dtype) == ((48, 64, 3), np.uint8)
    assert np.median(np.abs(seen.astype(int) - GREY[..., None])) <= 1
    assert np.abs(seen[47].astype(int) - GREY[47, :, None]).max() <= 1


def test_what_is_not_a_number_is_black(tmp_path):
    values = RAMP.astype(np.float32)
    values[0], values[1] = np.nan, np.inf
    seen = read_picture(save(tmp_path / "a.tif", values))
    assert (seen[:2] == 0).all()
    assert np.abs(seen[2:].astype(int) - GREY[2:, :, None]).max() <= 1


def test_white_may_be_zero(tmp_path):
    pixels = (65535 - (RAMP * 65535)).astype("<u2").tobytes()
    entries = [(256, 3, 64), (257, 3, 48), (258, 3, 16), (259, 3, 1), (262, 3, 0), (273, 4, 8)]
    entries += [(277, 3, 1), (278, 3, 48), (279, 4, len(pixels))]
    listed = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    path = tmp_path / "a.tif"
    path.write_bytes(
        b"II*\0" + struct.pack("<I", 8 + len(pixels)) + pixels
        + struct.pack("<H", len(entries)) + listed + bytes(4)
    )  # fmt: skip
    assert np.abs(read_picture(str(path)).astype(int) - GREY[..., None]).max() <= 1


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tif"])
def test_transparent_parts_lie_on_black(tmp_path, name):
    exact = {"lossless": True, "exact": True} if name == "a.webp" else {}
    path = save(tmp_path / name, np.dstack([COLORS, GREY]), **exact)
    expected = COLORS * (GREY[..., None] / 255)
    assert np.abs(read_picture(path) - expected).max() <= 1


def test_transparent_entries_of_palettes(tmp_path):
    image = Image.fromarray(COLORS).quantize(16)
    hidden = np.asarray(image) == 3
    for name, transparency in (("a.gif", 3), ("a.png", bytes([255] * 3 + [0] + [255] * 12))):
        image.save(tmp_path / name, transparency=transparency)
        seen = read_picture(str(tmp_path / name))
        assert (seen[hidden] == 0).all()
        assert (seen[~hidden][:, 2] == 200).all()


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr"])
@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_other_colour_models(tmp_path, mode, name):
    seen = read_picture(save(tmp_path / name, COLORS, mode, quality=95))
    assert np.abs(seen.astype(int) - COLORS).max() < 6


def test_lab(tmp_path):
    spaces = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    lab = ImageCms.profileToProfile(Image.fromarray(COLORS), *spaces, outputMode="LAB")
    assert lab is not None
    lab.save(tmp_path / "a.tif")
    assert np.abs(read_picture(str(tmp_path / "a.tif")).astype(int) - COLORS).max() < 16


def make_wide_profile():
    """The profile of sRGB with red and green swapped: what it describes cannot be overlooked."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = profile.index(b"rXYZ"), profile.index(b"gXYZ")
    profile[red : red + 1], profile[green : green + 1] = b"g", b"r"
    return bytes(profile)


def test_profiles_are_applied(tmp_path):
    path = save(tmp_path / "a.png", COLORS, icc_profile=make_wide_profile())
    assert np.abs(read_picture(path).astype(int) - COLORS[..., [1, 0, 2]]).max() < 6
    damaged = save(tmp_path / "b.png", COLORS, icc_profile=b"damaged" * 30)
    np.testing.assert_array_equal(read_picture(damaged), COLORS)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    grey = save(tmp_path / "c.png", GREY, icc_profile=srgb)  # a profile of another kind
    np.testing.assert_array_equal(read_picture(grey)[..., 0], GREY)


def test_orientation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for values in (COLORS, (RAMP * 65535).astype(np.uint16)):
        path = save(tmp_path / "a.png", values, exif=exif)
        upright = read_picture(path)
        assert upright.shape == (64, 48, 3)
        assert upright[0, 0, 0] < 5 < 250 < upright[-1, 0, 0]
    path = save(tmp_path / "a.jpg", COLORS, exif=exif.tobytes()[:14] + b"\xff" * 20)
    assert read_picture(path).shape == (48, 64, 3)


def test_first_of_an_animation(tmp_path):
    first, second = Image.fromarray(COLORS), Image.fromarray(255 - COLORS)
    for name in ("a.gif", "a.png", "a.webp"):
        first.save(tmp_path / name, save_all=True, append_images=[second])
        assert np.abs(read_picture(str(tmp_path / name)).astype(int) - COLORS).mean() < 6


def test_what_is_not_a_picture_says_what_may_be(tmp_path):
    path = tmp_path / "a.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    with pytest.raises(VideoError, match="save it as one of JPEG, PNG, WEBP, GIF, BMP, TIFF"):
        read_picture(str(path))
    with pytest.raises(VideoError, match="no such file"):
        read_picture(str(tmp_path / "missing.png"))


def test_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("tempme_jax.video.container.MAX_PIXELS", 64 * 48 - 1)
    with pytest.raises(VideoError, match="larger than 3071 pixels"):
        read_picture(save(tmp_path / "a.png", COLORS))


def test_faults_of_ours_are_not_called_faults_of_the_file(tmp_path, monkeypatch):
    def fail(*args):
        raise ValueError("ours")

    monkeypatch.setattr("tempme_jax.video.pictures.blend_on_black", fail)
    with pytest.raises(ValueError, match="ours"):
        read_picture(save(tmp_path / "a.png", np.dstack([COLORS, GREY])))


def test_query_is_resized(tmp_path):
    frames, times = decode_picture(Picture(file=save(tmp_path / "a.png", COLORS), size=32))
    assert (frames.shape, times) == ((1, 32, 32, 3), [0.0])
