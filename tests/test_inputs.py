"""Frames become pixels on the device as CLIP's own preprocessing makes them."""

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from tempme_jax.inputs import MEAN, STD, convert_to_pixels


@pytest.mark.parametrize("size", [16, 40])
def test_resized_as_by_pillow(size):
    """To a smaller and to a larger size; Pillow rounds, and cuts to 0..255, between its passes."""
    frames = np.random.default_rng(0).integers(64, 192, (1, 2, 24, 24, 3), np.uint8)
    resized = [
        np.asarray(Image.fromarray(frame).resize((size, size), Image.Resampling.BICUBIC))
        for frame in frames[0]
    ]
    levels = (np.asarray(convert_to_pixels(jnp.asarray(frames), size)) * STD + MEAN) * 255
    assert np.abs(levels[0] - np.stack(resized)).max() < 2.5
    assert np.abs(levels[0] - np.stack(resized)).mean() < 0.3


def test_frames_of_the_size_are_only_normalised():
    frames = np.full((1, 1, 8, 8, 3), 255, np.uint8)
    pixels = convert_to_pixels(jnp.asarray(frames), 8)
    np.testing.assert_allclose(pixels[0, 0, 0, 0], (1 - MEAN) / STD, rtol=1e-6)
