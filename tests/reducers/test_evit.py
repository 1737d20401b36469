"""EViT: what is kept and fused by hand and by a slow loop, its laws in a model, and its counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from frame_tower import FRAMES, TOY, check_masked_frames, make_encoder, reduce_one_site

from tempme_jax import costs
from tempme_jax.adapters.lora import LoRA
from tempme_jax.networks.architecture import ARCHITECTURES
from tempme_jax.networks.clip import Clip
from tempme_jax.networks.tokens import Stage
from tempme_jax.reducers.base import keep_tokens
from tempme_jax.reducers.evit import EViT
from tempme_jax.reducers.schedule import make_schedule

REDUCER = EViT().resolve(patches=TOY.patches, frames=FRAMES, depth=TOY.depth)
CLIP = Clip(TOY, LoRA(rank=2), REDUCER)


def reduce_slowly(x, size, score, left, fuse):
    """Apply EViT (docs/methods/evit.md) to one frame, a token at a time."""
    patches = list(range(1, len(x)))
    patches.sort(key=lambda i: -score[i])  # a stable sort
    kept, dropped = patches[:left], patches[left:]
    rows, sizes = [x[0]] + [x[i] for i in kept], [size[0]] + [size[i] for i in kept]
    held = [-1] * len(x)
    for place, i in enumerate([0, *kept]):
        held[i] = place
    if fuse:
        fused, total = np.zeros(x.shape[1]), 0.0
        for i in dropped:
            fused, total, held[i] = fused + score[i] * x[i], total + size[i], len(rows)
        rows, sizes = [*rows, fused], [*sizes, total]
    return np.stack(rows), np.array(sizes), held[1:]


@pytest.mark.parametrize("fuse", [True, False])
def test_agrees_with_a_slow_loop(fuse):
    rng = np.random.default_rng(0)
    x, score = rng.standard_normal((3, 9, 5)), rng.random((3, 9))
    size = rng.integers(1, 4, (3, 9)).astype(float)
    reduced = reduce_one_site(EViT(keep=0.6, layers=(0,), fuse=fuse), x, size, score)
    held = np.asarray(reduced.source).reshape(3, 8)
    for frame in range(3):
        slow = reduce_slowly(x[frame], size[frame], score[frame], 5, fuse)
        np.testing.assert_allclose(reduced.x[0, frame], slow[0], atol=1e-6)
        np.testing.assert_array_equal(reduced.size[0, frame], slow[1])
        here = np.where(held[frame] < 0, -1, held[frame] - frame * reduced.x.shape[2])
        np.testing.assert_array_equal(here, slow[2])


def test_one_frame_by_hand():
    """Of patches 10, 20, 30, 40 half is kept, the most attended first; 0.1 and 0.2 are summed."""
    x, score = np.arange(0.0, 50, 10)[None, :, None], np.array([[0.1, 0.1, 0.2, 0.2, 0.4]])
    reduced = reduce_one_site(EViT(keep=0.5, layers=(0,)), x, np.ones((1, 5)), score)
    np.testing.assert_allclose(reduced.x[0, 0, :, 0], [0, 40, 20, 0.1 * 10 + 0.2 * 30], rtol=1e-6)
    np.testing.assert_array_equal(reduced.size[0, 0], [1, 1, 1, 2])
    np.testing.assert_array_equal(reduced.source, [[3, 2, 3, 1]])


def test_the_fused_weights_have_a_gradient_and_the_choice_has_none():
    x = np.random.default_rng(0).standard_normal((1, 6, 2))
    score = np.array([[0.2, 0.3, 0.1, 0.15, 0.25, 0.05]])

    def total(score):
        return reduce_one_site(EViT(keep=0.5, layers=(0,)), x, np.ones((1, 6)), score).x.sum()

    slope = jax.grad(total)(jnp.float32(score))
    dropped = np.array([False, False, True, False, False, True])
    np.testing.assert_allclose(slope[0], np.where(dropped, x[0].sum(axis=1), 0), rtol=1e-5)


def test_all_kept_is_nothing_done():
    reducer = EViT(keep=1.0, layers=(0,))
    assert reducer.after_attention(0, Stage(clips=1, n_cls=1, attention=5, mlp=5)) is keep_tokens
    assert REDUCER.after_attention(0, Stage(clips=1, n_cls=1, attention=5, mlp=5)) is keep_tokens


def test_shares_are_exact():
    """In floating point 100 * 0.55 is more than 55."""
    stage = EViT(keep=0.55, layers=(0,)).stage(0, Stage(clips=1, n_cls=1, attention=101, mlp=101))
    assert stage.mlp == 1 + 55 + 1


@pytest.fixture(scope="module")
def model():
    return make_encoder(REDUCER)


def test_masked_frames_change_nothing(model):
    check_masked_frames(*model)


def test_sizes_count_patches(model):
    encode, pixels = model
    _, (_, tokens) = encode(pixels, np.ones((2, FRAMES), bool))
    n = tokens.x.shape[2]
    for video in range(2):
        count = np.bincount(tokens.source[video], minlength=FRAMES * n).reshape(FRAMES, n)
        np.testing.assert_array_equal(count[:, 1:], tokens.size[video, :, 1:])
        np.testing.assert_array_equal(count[:, 0], 0)


@pytest.mark.parametrize(
    ("backbone", "kept"), [("ViT-B/32", (37, 28, 21)), ("ViT-B/16", (140, 100, 72))]
)
def test_tokens_of_the_methods_page(backbone, kept):
    patches = ARCHITECTURES[backbone].patches
    reducer = EViT().resolve(patches=patches, frames=12, depth=12)
    stages = make_schedule(reducer, frames=12, tokens=1 + patches, depth=12)
    assert reducer.layers == (3, 6, 9)
    assert tuple(stages[layer].mlp for layer in (3, 6, 9)) == kept
    assert tuple(stages[layer].attention for layer in (4, 7, 10)) == kept
    assert stages[11].out == kept[-1]


def test_costs_of_the_methods_page():
    arch = ARCHITECTURES["ViT-B/32"]
    reducer = EViT().resolve(patches=arch.patches, frames=12, depth=arch.depth)
    counted = costs.count_costs(Clip(arch, LoRA(), reducer), 12)
    assert counted.mac == pytest.approx(37.186, abs=5e-4)
    assert counted.paper == pytest.approx(37.264, abs=5e-4)
    assert counted.tokens == 12 * 21
    assert counted.trainable == 491_520


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: EViT(keep=0), r"keep=0 must be in \(0, 1\]"),
        (lambda: EViT(keep=True), r"keep=True must be in \(0, 1\]"),
        (lambda: EViT(layers=(2, 1)), r"layers=\(2, 1\) must be block numbers in ascending order"),
        (lambda: EViT(layers="3"), "layers='3' must be a list of whole numbers"),
        (lambda: EViT(layers=(3, 12)).check(12), r"layers=\(3, 12\) must lie in 0\.\.11"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
