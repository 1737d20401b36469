"""RandAugment on the device, with one draw for all frames of a video.

The recipe is timm's `rand-m7-n4-mstd0.5-inc1`: four operations, each drawn from the fifteen of
`OPERATIONS` with replacement and applied with probability 1/2. Its strength, 0 to 10, is drawn from
a normal distribution with mean 7 and deviation 0.5. Operations change the pixels as in Pillow;
pixels from outside a frame are grey.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, UInt8

STRONGEST = 10.0
PROBABILITY = 0.5
# timm's default, which the published recipe keeps.
FILL = 128

Frames = UInt8[Array, "t s s 3"]
Scalar = Float[Array, ""]


class Draw(NamedTuple):
    """The operations drawn for a video, one entry for each layer.

    Attributes:
        operation: index into `OPERATIONS`; `len(OPERATIONS)` = no operation.
        level: strength, 0 to 10.
        sign: -1 or 1, the direction of an operation that has two.
    """

    operation: Int[Array, "..."]
    level: Float[Array, "..."]
    sign: Float[Array, "..."]


def rand_augment(
    keys: Key[Array, " b"],
    frames: UInt8[Array, "b t s s 3"],
    *,
    magnitude: float = 7.0,
    magnitude_std: float = 0.5,
    layers: int = 4,
) -> UInt8[Array, "b t s s 3"]:
    """Augment every video with a draw of its own, the same for all of its frames.

    Videos are processed one after another, so only the drawn operations are computed; `vmap` would
    compute all fifteen for every layer of every video (40 times slower on a CPU). If the batch is
    split over devices, call it within `jax.shard_map`: each device then processes its own videos.

    Args:
        keys: a random key for each video.
        frames: RGB.
        magnitude: mean of the strength of an operation, 0 to 10.
        magnitude_std: standard deviation of the strength, before it is clipped to 0 to 10.
        layers: operations drawn for a video.
    """

    def augment_video(video):
        key, frames = video
        plan = draw(key, magnitude=magnitude, magnitude_std=magnitude_std, layers=layers)
        return jax.lax.scan(lambda frames, layer: (apply(layer, frames), None), frames, plan)[0]

    return jax.lax.map(augment_video, (keys, frames))


def draw(key: Key[Array, ""], *, magnitude: float, magnitude_std: float, layers: int) -> Draw:
    """Draw the operations of a video and their strengths."""
    which, whether, level, sign = jax.random.split(key, 4)
    operation = jax.random.randint(which, (layers,), 0, len(OPERATIONS))
    applied = jax.random.bernoulli(whether, PROBABILITY, (layers,))
    level = magnitude + magnitude_std * jax.random.normal(level, (layers,), jnp.float32)
    return Draw(
        jnp.where(applied, operation, len(OPERATIONS)),
        jnp.clip(level, 0, STRONGEST),
        jax.random.rademacher(sign, (layers,), jnp.float32),
    )


def apply(layer: Draw, frames: Frames) -> Frames:
    """Apply one drawn operation to the frames of one video."""

    def bind(operation: Callable, argument: Callable) -> Callable:
        return lambda frames, level, sign: operation(frames, argument(level, sign))

    branches = [bind(*row) for row in OPERATIONS.values()]
    branches.append(lambda frames, level, sign: frames)
    return jax.lax.switch(layer.operation, branches, frames, layer.level, layer.sign)


def autocontrast(frames: Frames, _: Any = None) -> Frames:
    """Stretch every channel of every frame to 0..255."""
    pixels = frames.astype(jnp.int32)
    low = pixels.min((1, 2), keepdims=True)
    span = pixels.max((1, 2), keepdims=True) - low
    stretched = (pixels - low) * 255 // jnp.maximum(span, 1)
    return jnp.where(span > 0, stretched, pixels).astype(jnp.uint8)


def equalize(frames: Frames, _: Any = None) -> Frames:
    """Map every channel of every frame so that its histogram becomes flat."""
    t, size, _, channels = frames.shape
    pixels = frames.transpose(0, 3, 1, 2).reshape(t * channels, size * size).astype(jnp.int32)
    histogram = jax.vmap(lambda row: jnp.bincount(row, length=256))(pixels)
    highest = jnp.take_along_axis(histogram, pixels.max(1, keepdims=True), axis=1)
    step = (size * size - highest) // 255
    below = jnp.cumsum(histogram, axis=1) - histogram
    table = jnp.minimum((step // 2 + below) // jnp.maximum(step, 1), 255)
    table = jnp.where(step > 0, table, jnp.arange(256)[None])
    equalized = jnp.take_along_axis(table, pixels, axis=1).astype(jnp.uint8)
    return equalized.reshape(t, channels, size, size).transpose(0, 2, 3, 1)


def invert(frames: Frames, _: Any = None) -> Frames:
    """Invert the colours."""
    return 255 - frames


def posterize(frames: Frames, bits: Int[Array, ""]) -> Frames:
    """Keep the `bits` highest bits, 0 to 8 of them."""
    dropped = 8 - bits
    return (frames.astype(jnp.int32) >> dropped << dropped).astype(jnp.uint8)


def solarize(frames: Frames, threshold: Int[Array, ""]) -> Frames:
    """Invert pixels that are not below the threshold, 0 to 256."""
    return jnp.where(frames.astype(jnp.int32) < threshold, frames, 255 - frames)


def solarize_add(frames: Frames, addition: Int[Array, ""]) -> Frames:
    """Brighten the darker half of the range by so many levels."""
    brighter = jnp.minimum(frames.astype(jnp.int32) + addition, 255).astype(jnp.uint8)
    return jnp.where(frames < 128, brighter, frames)


def change_color(frames: Frames, factor: Scalar) -> Frames:
    """Change the saturation: 0 is grey, 1 keeps the frames as they are."""
    return blend(to_grey(frames), frames, factor)


def change_contrast(frames: Frames, factor: Scalar) -> Frames:
    """Change the contrast: 0 is the mean grey of each frame, 1 keeps the frames as they are."""
    pixels = frames.shape[1] * frames.shape[2]
    total = to_grey(frames).sum((1, 2), keepdims=True, dtype=jnp.int32)
    return blend((2 * total + pixels) // (2 * pixels), frames, factor)


def change_brightness(frames: Frames, factor: Scalar) -> Frames:
    """Change the brightness: 0 is black, 1 keeps the frames as they are."""
    return blend(jnp.zeros((1, 1, 1, 1), jnp.int32), frames, factor)


def change_sharpness(frames: Frames, factor: Scalar) -> Frames:
    """Change the sharpness: 0 smooths all but the outermost pixels, 1 keeps the frames."""
    pixels = frames.astype(jnp.int32)
    window = (1, 3, 3, 1)
    around = jax.lax.reduce_window(pixels, 0, jax.lax.add, window, (1, 1, 1, 1), "VALID")
    inner = pixels[:, 1:-1, 1:-1]
    # The centre weighs 5, each of its 8 neighbours 1: the sum / 13, rounded to the nearest.
    smooth = (2 * (around + 4 * inner) + 13) // 26
    return blend(pixels.at[:, 1:-1, 1:-1].set(smooth), frames, factor)


def to_grey(frames: Frames) -> Int[Array, "t s s 1"]:
    """Return the luminance of ITU-R 601-2 in whole levels."""
    red, green, blue = jnp.split(frames.astype(jnp.int32), 3, axis=-1)
    return (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16


def blend(start: Int[Array, "#t #s #s #c"], frames: Frames, factor: Scalar) -> Frames:
    """Go from `start` towards the frames, and beyond them for a factor above 1."""
    start = start.astype(jnp.float32)
    blended = start + factor * (frames.astype(jnp.float32) - start)
    return jnp.clip(blended, 0, 255).astype(jnp.uint8)


def rotate(frames: Frames, degrees: Scalar) -> Frames:
    """Turn counter-clockwise around the centre."""
    angle = jnp.deg2rad(degrees)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    centre = frames.shape[1] / 2
    return sample_affine(
        frames,
        (cos, -sin, centre * (1 - cos + sin)),
        (sin, cos, centre * (1 - cos - sin)),
    )


def shear_x(frames: Frames, factor: Scalar) -> Frames:
    """Read every row `factor` pixels further to the right than the row above it."""
    return sample_affine(frames, (1.0, factor, 0.0), (0.0, 1.0, 0.0))


def shear_y(frames: Frames, factor: Scalar) -> Frames:
    """Read every column `factor` pixels further down than the column left of it."""
    return sample_affine(frames, (1.0, 0.0, 0.0), (factor, 1.0, 0.0))


def translate_x(frames: Frames, share: Scalar) -> Frames:
    """Read this share of the width further to the right."""
    return sample_affine(frames, (1.0, 0.0, share * frames.shape[2]), (0.0, 1.0, 0.0))


def translate_y(frames: Frames, share: Scalar) -> Frames:
    """Read this share of the height further down."""
    return sample_affine(frames, (1.0, 0.0, 0.0), (0.0, 1.0, share * frames.shape[1]))


def sample_affine(frames: Frames, to_x: tuple, to_y: tuple) -> Frames:
    """Sample frames by cubic convolution where an affine map sends the centres of the pixels.

    Args:
        frames: square frames.
        to_x: a, b, c such that the pixel at (x, y) is read at a x + b y + c from the left.
        to_y: likewise for its distance from the top.
    """
    t, size, _, channels = frames.shape
    y, x = jnp.divmod(jnp.arange(size * size), size)
    x, y = x.astype(jnp.float32) + 0.5, y.astype(jnp.float32) + 0.5
    u, v = (a * x + b * y + c for a, b, c in (to_x, to_y))
    columns, right = find_neighbours(u, size)
    rows, down = find_neighbours(v, size)
    # The pixels of all frames at one place lie side by side: one index fetches them together.
    pixels = frames.transpose(1, 2, 0, 3).reshape(size * size, t * channels).astype(jnp.float32)
    sampled = interpolate_cubic(
        [
            interpolate_cubic([pixels[row * size + column] for column in columns], right)
            for row in rows
        ],
        down,
    )
    inside = (u >= 0) & (u < size) & (v >= 0) & (v < size)
    sampled = jnp.where(inside[:, None], jnp.clip(sampled, 0, 255), FILL).astype(jnp.uint8)
    return sampled.reshape(size, size, t, channels).transpose(2, 0, 1, 3)


def find_neighbours(
    position: Float[Array, " n"], size: int
) -> tuple[list[Int[Array, " n"]], Float[Array, "n 1"]]:
    """Return the four pixels of a line around each position, and its distance to the second."""
    first = jnp.floor(position - 0.5)
    index = first.astype(jnp.int32)
    fraction = position - 0.5 - first
    return [jnp.clip(index + i, 0, size - 1) for i in (-1, 0, 1, 2)], fraction[:, None]


def interpolate_cubic(
    points: list[Float[Array, "n p"]], fraction: Float[Array, "n 1"]
) -> Float[Array, "n p"]:
    """Interpolate between the middle two of four points as Pillow does: Keys' kernel, a = -1."""
    before, left, right, after = points
    square = 2 * (before - left) + right - after
    cube = left - before + after - right
    return left + fraction * (right - before + fraction * (square + fraction * cube))


def _floor(value: Scalar) -> Int[Array, ""]:
    return jnp.floor(value).astype(jnp.int32)


def _take_nothing(level, sign):
    return None


def _scale_enhancement(level, sign):
    return 1 + sign * 0.09 * level


# By timm's names: the operation, and its argument as a function of strength (0 to 10) and sign.
OPERATIONS: dict[str, tuple[Callable, Callable]] = {
    "AutoContrast": (autocontrast, _take_nothing),
    "Equalize": (equalize, _take_nothing),
    "Invert": (invert, _take_nothing),
    "Rotate": (rotate, lambda level, sign: sign * 3 * level),
    "PosterizeIncreasing": (posterize, lambda level, sign: 4 - _floor(0.4 * level)),
    "SolarizeIncreasing": (solarize, lambda level, sign: 256 - _floor(25.6 * level)),
    "SolarizeAdd": (solarize_add, lambda level, sign: _floor(11 * level)),
    "ColorIncreasing": (change_color, _scale_enhancement),
    "ContrastIncreasing": (change_contrast, _scale_enhancement),
    "BrightnessIncreasing": (change_brightness, _scale_enhancement),
    "SharpnessIncreasing": (change_sharpness, _scale_enhancement),
    "ShearX": (shear_x, lambda level, sign: sign * 0.03 * level),
    "ShearY": (shear_y, lambda level, sign: sign * 0.03 * level),
    "TranslateXRel": (translate_x, lambda level, sign: sign * 0.045 * level),
    "TranslateYRel": (translate_y, lambda level, sign: sign * 0.045 * level),
}
