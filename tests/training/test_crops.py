"""UMT's augmentation draws and resizes parts of frames as torchvision does."""

import jax
import jax.numpy as jnp
import numpy as np

from tempme_jax.training.crops import Crop, crop_and_flip, draw_crop, resize_part

SIZE = 24


def make_frames(count=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


def make_crop(top, left, height, width, flip):
    return Crop(*(jnp.int32(n) for n in (top, left, height, width)), jnp.asarray(flip))


def resize_slowly(line, size):
    """One line by bicubic interpolation, a = -0.75, pixel by pixel, in float64."""
    a, out = -0.75, []
    for i in range(size):
        position = (i + 0.5) * len(line) / size - 0.5
        start, value = int(np.floor(position)), 0.0
        for tap in range(start - 1, start + 3):
            x = abs(position - tap)
            weight = (a + 2) * x**3 - (a + 3) * x**2 + 1
            if x > 1:
                weight = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
            value = value + weight * line[min(max(tap, 0), len(line) - 1)]
        out.append(value)
    return np.array(out)


def test_a_part_is_resized_as_by_hand():
    frames = make_frames()
    part = frames[:, 3 : 3 + 17, 5 : 5 + 13].astype(float)
    rows = np.moveaxis(resize_slowly(np.moveaxis(part, 1, 0), SIZE), 0, 1)
    whole = np.moveaxis(resize_slowly(np.moveaxis(rows, 2, 0), SIZE), 0, 2)
    expected = np.clip(np.round(whole), 0, 255)
    for flip in (False, True):
        found = np.asarray(resize_part(make_crop(3, 5, 17, 13, flip), jnp.asarray(frames)))
        found = found[:, :, ::-1] if flip else found
        # Float32 may round a half the other way.
        assert np.abs(found - expected).max() <= 1 and (found != expected).mean() < 1e-3


def test_the_whole_stays_as_it_is():
    frames = jnp.asarray(make_frames())
    np.testing.assert_array_equal(resize_part(make_crop(0, 0, SIZE, SIZE, False), frames), frames)
    flipped = resize_part(make_crop(0, 0, SIZE, SIZE, True), frames)
    np.testing.assert_array_equal(flipped, frames[:, :, ::-1])


def test_what_is_drawn():
    size = 224
    keys = jax.random.split(jax.random.key(0), 4000)
    top, left, height, width, flip = jax.jit(jax.vmap(lambda key: draw_crop(key, size)))(keys)
    area, ratio = height * width / size**2, width / height
    assert 0.49 < area.min() < 0.51 and 0.95 < area.max() <= 1
    assert 0.74 < ratio.min() < 0.77 and 1.3 < ratio.max() < 1.35
    for first, side in ((top, height), (left, width)):
        assert (first >= 0).all() and (first + side <= size).all()
        assert (first == 0).any() and (first + side == size).any() and (first > 50).any()
    assert abs(flip.mean() - 0.5) < 0.03
    # Of parts as large as that, most fit only if they are nearly square.
    assert abs(np.log(ratio).mean()) < 0.01


def test_all_frames_of_a_video_are_changed_alike_and_each_video_by_its_key():
    still = np.repeat(make_frames(1), 4, axis=0)
    videos = jnp.asarray(np.stack([still, still, still]))
    keys = jax.random.split(jax.random.key(1), 2)[np.array([0, 1, 0])]
    changed = np.asarray(jax.jit(crop_and_flip)(keys, videos))
    assert (changed == changed[:, :1]).all()
    np.testing.assert_array_equal(changed[0], changed[2])
    assert (changed[0] != changed[1]).any()
