"""RandAugment does to frames what Pillow does, as often and as strongly as timm's recipe says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from PIL import Image, ImageEnhance, ImageOps

from tempme_jax.training.augment import OPERATIONS, draw, rand_augment

SIZE = 24
GREY = (128, 128, 128)


def transformed(image, *matrix):
    return image.transform(
        image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC, fillcolor=GREY
    )


def darker_half_brightened(image, addition):
    return image.point([min(i + addition, 255) if i < 128 else i for i in range(256)] * 3)


# What a name of timm's does with Pillow, given its argument.
PILLOW = {
    "AutoContrast": lambda image, _: ImageOps.autocontrast(image),
    "Equalize": lambda image, _: ImageOps.equalize(image),
    "Invert": lambda image, _: ImageOps.invert(image),
    "Rotate": lambda image, degrees: image.rotate(
        degrees, Image.Resampling.BICUBIC, fillcolor=GREY
    ),
    # Pillow refuses to keep no bits at all: that is black.
    "PosterizeIncreasing": lambda image, bits: (
        ImageOps.posterize(image, bits) if bits else Image.new("RGB", image.size)
    ),
    "SolarizeIncreasing": ImageOps.solarize,
    "SolarizeAdd": darker_half_brightened,
    "ColorIncreasing": lambda image, factor: ImageEnhance.Color(image).enhance(factor),
    "ContrastIncreasing": lambda image, factor: ImageEnhance.Contrast(image).enhance(factor),
    "BrightnessIncreasing": lambda image, factor: ImageEnhance.Brightness(image).enhance(factor),
    "SharpnessIncreasing": lambda image, factor: ImageEnhance.Sharpness(image).enhance(factor),
    "ShearX": lambda image, factor: transformed(image, 1, factor, 0, 0, 1, 0),
    "ShearY": lambda image, factor: transformed(image, 1, 0, 0, factor, 1, 0),
    "TranslateXRel": lambda image, share: transformed(image, 1, 0, share * SIZE, 0, 1, 0),
    "TranslateYRel": lambda image, share: transformed(image, 1, 0, 0, 0, 1, share * SIZE),
}

# The argument of an operation at a strength of 0, 7 and 10, the sign being -1.
ARGUMENTS = {
    "AutoContrast": (None, None, None),
    "Equalize": (None, None, None),
    "Invert": (None, None, None),
    "Rotate": (0, -21, -30),
    "PosterizeIncreasing": (4, 2, 0),
    "SolarizeIncreasing": (256, 77, 0),
    "SolarizeAdd": (0, 77, 110),
    "ColorIncreasing": (1, 0.37, 0.1),
    "ContrastIncreasing": (1, 0.37, 0.1),
    "BrightnessIncreasing": (1, 0.37, 0.1),
    "SharpnessIncreasing": (1, 0.37, 0.1),
    "ShearX": (0, -0.21, -0.3),
    "ShearY": (0, -0.21, -0.3),
    "TranslateXRel": (0, -0.315, -0.45),
    "TranslateYRel": (0, -0.315, -0.45),
}


def frames_of_many_kinds():
    """Noise, a ramp, low contrast, two colours, one colour."""
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 256, (SIZE, SIZE, 3))
    ramp = np.add.outer(np.arange(SIZE), np.arange(SIZE))[..., None] * np.array([5, 2, 1])
    faint = generator.integers(90, 120, (SIZE, SIZE, 3))
    halves = np.broadcast_to(np.where(np.arange(SIZE) < 9, 30, 220)[:, None, None], noise.shape)
    plain = np.broadcast_to(np.array([200, 100, 1]), noise.shape)
    return np.stack([noise, ramp, faint, halves, plain]).astype(np.uint8)


@jax.jit
def draw_recipe(key):
    return draw(key, magnitude=7.0, magnitude_std=0.5, layers=4)


def argument_of(name, level, sign):
    """What Pillow is given for a strength and a sign."""
    argument = OPERATIONS[name][1](level, sign)
    return None if argument is None else argument.item()


def by_pillow(name, frames, argument):
    return np.stack([np.asarray(PILLOW[name](Image.fromarray(f), argument)) for f in frames])


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_pillow_does(name):
    operation, argument = OPERATIONS[name]
    frames = frames_of_many_kinds()
    ours = jax.jit(lambda frames, *where: operation(frames, argument(*where)))
    for level, sign in ((0, 1), (3.3, 1), (3.3, -1), (7, 1), (10, 1), (10, -1)):
        where = (jnp.float32(level), jnp.float32(sign))
        result = np.asarray(ours(jnp.asarray(frames), *where))
        assert result.dtype == np.uint8
        expected = by_pillow(name, frames, argument_of(name, *where))
        difference = np.abs(result - expected.astype(int))
        # Pillow's stretching truncates products of doubles, which may lie just below a level.
        share = 0.2 if name == "AutoContrast" else 0.01
        assert difference.max() <= 1 and (difference > 0).mean() < share


@pytest.mark.parametrize("name", OPERATIONS)
def test_strength(name):
    for level, expected in zip((0.0, 7.0, 10.0), ARGUMENTS[name], strict=True):
        argument = argument_of(name, jnp.float32(level), jnp.float32(-1))
        assert argument == (None if expected is None else pytest.approx(expected, abs=1e-6))


def test_operations_and_strengths_are_drawn_as_often_as_the_recipe_says():
    plan = draw(jax.random.key(0), magnitude=7.0, magnitude_std=0.5, layers=40_000)
    operation, level, sign = (np.asarray(a) for a in plan)
    share = np.bincount(operation, minlength=16) / operation.size
    assert share[15] == pytest.approx(0.5, abs=0.01)
    np.testing.assert_allclose(share[:15], 1 / 30, atol=0.004)
    assert level.mean() == pytest.approx(7, abs=0.02)
    assert level.std() == pytest.approx(0.5, abs=0.02)
    assert set(np.unique(sign)) == {-1, 1} and abs(sign.mean()) < 0.02
    # One operation may come twice, and what is drawn for a layer says nothing of another.
    assert (operation[1:] == operation[:-1]).mean() == pytest.approx(0.25 + 1 / 60, abs=0.02)
    for one, other in ((level[1:], level[:-1]), (level, sign), (operation, level)):
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.02


def test_strength_stays_within_its_range():
    for magnitude, limit in ((40.0, 10), (-40.0, 0)):
        plan = draw(jax.random.key(0), magnitude=magnitude, magnitude_std=0.5, layers=40_000)
        np.testing.assert_array_equal(plan.level, limit)


@pytest.fixture(scope="module")
def batch():
    """Twelve videos of two equal frames, their keys, and what becomes of them."""
    generator = np.random.default_rng(1)
    one = generator.integers(0, 256, (12, 1, SIZE, SIZE, 3), dtype=np.uint8)
    frames = jnp.asarray(np.repeat(one, 2, axis=1))
    keys = jax.random.split(jax.random.key(3), 12)
    augment = jax.jit(rand_augment)
    return frames, keys, augment, np.asarray(augment(keys, frames))


def test_a_video_depends_on_its_own_key_and_all_its_frames_are_changed_alike(batch):
    frames, keys, augment, result = batch
    assert result.shape == frames.shape and result.dtype == np.uint8
    np.testing.assert_array_equal(result[:, 0], result[:, 1])
    np.testing.assert_array_equal(augment(keys[::-1], frames[::-1])[::-1], result)


def test_the_layers_of_a_draw_are_applied_in_their_order(batch):
    frames, keys, _, result = batch
    names = list(OPERATIONS)
    drawn = set()
    for key, video, ours in zip(keys, frames, result, strict=True):
        expected = np.asarray(video)
        for index, *where in zip(*draw_recipe(key), strict=True):
            if index < len(names):
                name = names[index]
                expected = by_pillow(name, expected, argument_of(name, *where))
                drawn.add(name)
        # Where one level is more or less, later operations may stretch it.
        far = np.abs(ours.astype(int) - expected) > 2
        assert far.mean() < 0.02
    assert len(drawn) > 8


def test_may_be_called_within_a_sharded_step(batch):
    frames, keys, _, _ = batch
    spec = PartitionSpec("data")
    mesh = jax.make_mesh((1,), ("data",))
    frames, keys = jax.device_put((frames, keys), NamedSharding(mesh, spec))
    sharded = jax.shard_map(rand_augment, mesh=mesh, in_specs=(spec, spec), out_specs=spec)
    result = jax.eval_shape(sharded, keys, frames)
    assert result.shape == frames.shape and result.sharding.spec[0] == "data"


def test_no_layers_leave_the_frames(batch):
    frames, keys, _, _ = batch
    np.testing.assert_array_equal(rand_augment(keys, frames, layers=0), frames)
