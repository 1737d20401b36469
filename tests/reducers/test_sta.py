"""STA against a slow loop written from docs/methods/sta.md, by hand, padded, and its costs."""

import functools

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_weights import make_random_tree

from tempme_jax import costs
from tempme_jax.adapters.base import Adapter
from tempme_jax.adapters.lora import LoRA
from tempme_jax.networks import macs
from tempme_jax.networks.architecture import Architecture
from tempme_jax.networks.clip import Clip
from tempme_jax.networks.tokens import make_tokens
from tempme_jax.parameters import find_shapes, join, split
from tempme_jax.reducers.base import Reducer
from tempme_jax.reducers.schedule import make_schedule
from tempme_jax.reducers.sta import STA, accumulate, compute_importance, drop_repeated

B32, B16 = Architecture(), Architecture(patch=16)
TOY = Architecture(
    embed_dim=8, image_size=24, patch=8, width=16, depth=3, heads=2,
    text_width=12, text_depth=1, text_heads=2, vocab_size=30, context_length=16,
)  # fmt: skip
FRAMES = 4


def list_counts(reducer, arch=B32, frames=12):
    reducer = reducer.resolve(patches=arch.patches, frames=frames, depth=arch.depth)
    return make_schedule(reducer, frames=frames, tokens=1 + arch.patches, depth=arch.depth)


def keep_slowly(x, keys, r, *, backwards):
    """The patches that each frame keeps, in their new order; x [t, p, d], keys [t, p, k]."""
    t, p = x.shape[:2]
    turns = range(t - 1, -1, -1) if backwards else range(t)
    kept, metric, accumulated = {}, None, None
    for turn, frame in enumerate(turns):
        unit = np.array([row / np.sqrt((row**2).sum()) for row in keys[frame]])
        semantic = np.array([sum(abs(value) for value in row) for row in x[frame]])
        semantic = (semantic - semantic.min()) / (semantic.max() - semantic.min())
        if turn == 0:
            even, odd = list(range(0, p, 2)), list(range(1, p, 2))
            even.sort(key=lambda i: max(unit[i] @ unit[j] for j in odd))
            kept[frame] = (odd + even)[: p - r]
            metric = unit[odd + even]
            continue
        matrix = np.array([[np.exp(unit[i] @ row) for row in metric] for i in range(p)])
        matrix = matrix / matrix.sum(axis=0)
        a = matrix @ (np.ones(p) if turn == 1 else accumulated)
        score = a * (1 - semantic)
        kept[frame] = sorted(range(p), key=lambda i: score[i])[: p - r]
        metric = unit[kept[frame]]
        accumulated = a[kept[frame]] / a[kept[frame]].sum()
    return [kept[frame] for frame in range(t)]


@functools.partial(jax.jit, static_argnames=("n_out", "backwards"))
def drop(x, keys, mask, *, n_out, backwards=False):
    return drop_repeated(make_tokens(x, mask, trace=True), keys, n_out, backwards=backwards)


def make_random_frames(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((*shape, 6)), rng.standard_normal((*shape, 4))


@pytest.mark.parametrize(
    ("frames", "patches", "r", "backwards"),
    [(6, 9, 3, False), (6, 9, 3, True), (1, 8, 4, False), (2, 8, 4, True)],
)
def test_agrees_with_a_slow_loop(frames, patches, r, backwards):
    """What stays, its order, and the source map; the class tokens pass."""
    x, keys = make_random_frames(2, frames, 1 + patches, seed=patches)
    mask = jnp.ones((2, frames), bool)
    tokens = drop(
        jnp.float32(x), jnp.float32(keys), mask, n_out=1 + patches - r, backwards=backwards
    )
    np.testing.assert_array_equal(tokens.size, np.ones((2, frames, 1 + patches - r)))
    for video in range(2):
        kept = keep_slowly(x[video, :, 1:], keys[video, :, 1:], r, backwards=backwards)
        source = np.full((frames, patches), -1)
        for frame, patch in enumerate(kept):
            expected = x[video, frame][[0] + [1 + i for i in patch]]
            np.testing.assert_array_equal(tokens.x[video, frame], jnp.float32(expected))
            source[frame, patch] = frame * (1 + patches - r) + 1 + np.arange(patches - r)
        np.testing.assert_array_equal(tokens.source[video], source.ravel())


@pytest.mark.parametrize(
    ("important", "second"),
    [([0.0, 0.0, 0.0, 0.0], [0, 1, -1, 2]), ([0.5, 0.0, 1.0, 0.75], [2, -1, 0, 1])],
)
def test_two_frames_by_hand(important, second):
    """The patch that repeats goes; but not where it is the most important, then one that is not.

    In the first frame it is the even patch that repeats an odd one.
    """
    keys = jnp.eye(4)[jnp.array([[0, 1, 1, 2], [3, 3, 0, 3]])]
    choose = jax.jit(functools.partial(accumulate, n_out=3))
    position = choose(keys, jnp.array([[0.0] * 4, important]))
    np.testing.assert_array_equal(position, [[2, 0, -1, 1], second])


def test_importance_of_equal_patches_is_finite():
    np.testing.assert_array_equal(compute_importance(jnp.ones((1, 2, 3, 4))), np.zeros((1, 2, 3)))
    np.testing.assert_allclose(
        compute_importance(jnp.array([[[[1.0], [-3], [2]]]])), [[[0, 1, 0.5]]]
    )


@pytest.mark.parametrize("backwards", [False, True])
def test_masked_frames_are_passed_over(backwards):
    """Real frames choose as if the others were not there, whatever those hold, wherever."""
    mask = np.array([[False, True, True, False, True, False]])
    x, keys = make_random_frames(1, 6, 10)
    short = drop(
        jnp.float32(x[mask][None]), jnp.float32(keys[mask][None]), jnp.ones((1, 3), bool),
        n_out=7, backwards=backwards,
    )  # fmt: skip
    for fill in (0.0, 1e4):
        filled = (jnp.float32(np.where(mask[:, :, None, None], a, fill)) for a in (x, keys))
        long = drop(*filled, jnp.asarray(mask), n_out=7, backwards=backwards)
        np.testing.assert_array_equal(np.asarray(long.x)[mask], short.x[0])
        np.testing.assert_array_equal(long.size, np.where(mask[:, :, None], np.ones(7), 0))


def make_toy_clip(reducer, adapter):
    reducer = reducer.resolve(patches=TOY.patches, frames=FRAMES, depth=TOY.depth)
    return Clip(TOY, adapter, reducer)


def test_laws_of_a_tower():
    """Masked frames are passed over, also where the second point goes backwards; gradients."""
    network = make_toy_clip(STA(), LoRA(rank=2))
    assert network.reducer == STA(drop=(2, 1, 1), layers=(0, 1, 2))
    assert (
        find_shapes(network, FRAMES).keys()
        == find_shapes(make_toy_clip(Reducer(), LoRA(rank=2)), FRAMES).keys()
    )
    trainable, frozen = split(network, make_random_tree(network, FRAMES))
    frames = jax.random.normal(jax.random.key(0), (3, 24, 24, 3))
    # The same three frames, before and behind one that is masked.
    pixels = jnp.full((2, FRAMES, 24, 24, 3), 99.0).at[0, :3].set(frames).at[1, 1:].set(frames)
    mask = jnp.array([[True, True, True, False], [False, True, True, True]])

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def run(trainable):
        params = {"params": join(trainable, frozen)}
        video, tokens = network.apply(params, pixels, mask, trace=True, method="encode_video")
        return (video**3).sum(), (video, tokens.source)

    gradients, (video, source) = run(trainable)
    np.testing.assert_allclose(video[0], video[1], atol=1e-6)
    assert (source.reshape(2, FRAMES, 9) >= 0).sum(axis=2).tolist() == [[5] * FRAMES] * 2
    flat = flax.traverse_util.flatten_dict(gradients)
    assert all(np.isfinite(g).all() for g in flat.values())
    assert {path for path in flat if path[0] == "video"} == {
        path for path, g in flat.items() if np.abs(g).max() > 0
    }


def test_the_choice_has_no_gradient():
    def kept_sum(x, keys):
        return drop(x, keys, jnp.ones((1, 6), bool), n_out=7).x.sum()

    x, keys = make_random_frames(1, 6, 10)
    of_x, of_keys = jax.jit(jax.grad(kept_sum, argnums=(0, 1)))(jnp.float32(x), jnp.float32(keys))
    np.testing.assert_array_equal(of_keys, np.zeros_like(keys))
    assert sorted(np.unique(of_x)) == [0, 1]
    assert of_x.sum() == 6 * 7 * 6


def test_published_trace_and_cost():
    """Counted independently: 35.697 ("fit"), 35.622 (products); nothing more trains."""
    stages = list_counts(STA())
    assert [stage.mlp for stage in stages] == [50] + [38] * 4 + [30] * 4 + [26] * 3
    assert [stage.out for stage in stages] == [38] * 4 + [30] * 4 + [26] * 4
    for reducer, paper, mac in (
        (STA(), 35.697, 35.622),
        (STA(drop=(10, 9, 9)), 35.702, 35.628),
    ):
        reducer = reducer.resolve(patches=49, frames=12, depth=12)
        network = Clip(B32, LoRA(), reducer)
        counted = macs.count_macs(network, 12)
        assert [count / 1e9 for count in counted] == pytest.approx([mac, paper], abs=5e-4)
    assert costs.count_trainable(network, 12) == 491_520
    assert costs.count_output_tokens(network.copy(adapter=Adapter()), tuple(stages)) == 12 * 26


def test_drops_follow_the_patches():
    assert STA().resolve(patches=196, frames=12, depth=12).drop == (48, 32, 16)
    assert [stage.out for stage in list_counts(STA(), B16)][::4] == [149, 117, 101]
    assert STA().resolve(patches=16, frames=8, depth=4) == STA(drop=(4, 3, 1), layers=(0, 1, 2))
    assert STA().resolve(patches=4, frames=1, depth=1) == STA(drop=(1,), layers=(0,))
    assert hash(STA(drop=[3], layers=[1])) == hash(STA(drop=(3,), layers=(1,)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: list_counts(STA(drop=(2, 2))),
            r"drop=\(2, 2\) and layers=\(0, 4, 8\) .* of one length",
        ),
        (lambda: list_counts(STA(layers=(0, 4, 12))), r"layers=\(0, 4, 12\) must lie in 0\.\.11"),
        (lambda: STA(layers=(4, 0)), r"layers=\(4, 0\) must be .* ascending"),
        (lambda: STA(drop=-1), "drop=-1 must be a list of whole numbers"),
        (
            lambda: list_counts(STA(drop=(12, 20, 4))),
            r"drop=20 is too large after block 4: 38 tokens are left .* a number in 0\.\.18",
        ),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
