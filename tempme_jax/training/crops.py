"""UMT's augmentation on the device: one part of the frames and one flip for a whole video.

That of torchvision's `RandomResizedCrop` and `RandomHorizontalFlip`: the part has 50 to 100 % of
the area and a ratio of width to height of 3/4 to 4/3; it is resized (bicubic, without
antialiasing). Here it is drawn on the stored square.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, UInt8

from tempme_jax.vectors import HIGHEST

AREA = 0.5, 1.0
RATIO = 3 / 4, 4 / 3
# torchvision tries so often to draw a part that fits, and then takes the whole.
ATTEMPTS = 10
# Keys' kernel as in PyTorch.
KERNEL = -0.75


class Crop(NamedTuple):
    """A part of a square, in whole pixels, and whether it is flipped."""

    top: Int[Array, ""]
    left: Int[Array, ""]
    height: Int[Array, ""]
    width: Int[Array, ""]
    flip: Bool[Array, ""]


def crop_and_flip(
    keys: Key[Array, " b"], frames: UInt8[Array, "b t s s 3"]
) -> UInt8[Array, "b t s s 3"]:
    """Augment every video with a draw of its own, the same for all of its frames."""

    def augment_video(video):
        key, frames = video
        return resize_part(draw_crop(key, frames.shape[1]), frames)

    return jax.lax.map(augment_video, (keys, frames))


def draw_crop(key: Key[Array, ""], size: int) -> Crop:
    """Draw a part of a square of `size` pixels."""
    area, ratio, down, right, flip = jax.random.split(key, 5)
    area = size**2 * jax.random.uniform(area, (ATTEMPTS,), minval=AREA[0], maxval=AREA[1])
    low, high = (math.log(bound) for bound in RATIO)
    ratio = jnp.exp(jax.random.uniform(ratio, (ATTEMPTS,), minval=low, maxval=high))
    widths, heights = (jnp.round(jnp.sqrt(area * r)).astype(jnp.int32) for r in (ratio, 1 / ratio))
    fits = (widths <= size) & (heights <= size)
    first = jnp.argmax(fits)
    width, height = (jnp.where(fits.any(), sides[first], size) for sides in (widths, heights))
    top = jax.random.randint(down, (), 0, size - height + 1)
    left = jax.random.randint(right, (), 0, size - width + 1)
    return Crop(top, left, height, width, jax.random.bernoulli(flip))


def resize_part(crop: Crop, frames: UInt8[Array, "t s s 3"]) -> UInt8[Array, "t s s 3"]:
    """Return a part of the frames, as large as they are."""
    size = frames.shape[1]
    rows = make_weights(crop.top, crop.height, size)
    columns = make_weights(crop.left, crop.width, size)
    columns = jnp.where(crop.flip, columns[::-1], columns)
    pixels = jnp.einsum("ih,thwc->tiwc", rows, frames.astype(jnp.float32), precision=HIGHEST)
    pixels = jnp.einsum("jw,tiwc->tijc", columns, pixels, precision=HIGHEST)
    return jnp.clip(jnp.round(pixels), 0, 255).astype(jnp.uint8)


def make_weights(first: Int[Array, ""], length: Int[Array, ""], size: int) -> Float[Array, "s s"]:
    """Return how much of each of `size` pixels is in each that `length` of them are resized to.

    Pixels beyond the part are those at its edge.
    """
    place = jnp.arange(size, dtype=jnp.float32) + 0.5
    position = place * (length.astype(jnp.float32) / size) - 0.5
    taps = jnp.floor(position).astype(jnp.int32)[:, None] + jnp.arange(-1, 3)[None]
    pixel = first + jnp.clip(taps, 0, length - 1)
    weight = weigh_distance(jnp.abs(position[:, None] - taps.astype(jnp.float32)))
    return jnp.zeros((size, size)).at[jnp.arange(size)[:, None], pixel].add(weight)


def weigh_distance(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return the weight of a pixel by its distance, 0 to 2 (Keys, 1981)."""
    a = KERNEL
    near = ((a + 2) * x - (a + 3)) * x**2 + 1
    far = a * (((x - 5) * x + 8) * x - 4)
    return jnp.where(x <= 1, near, far)
