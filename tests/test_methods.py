"""Every adapter with every reducer: shapes, what trains, and the identity at the start."""

import itertools

import chex
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_weights import random_tree

from tempme_jax import methods
from tempme_jax.adapters.base import Adapter
from tempme_jax.adapters.bottleneck import Bottleneck
from tempme_jax.adapters.full import Full
from tempme_jax.adapters.lora import LoRA
from tempme_jax.adapters.prompt import Prompt
from tempme_jax.architecture import Architecture
from tempme_jax.clip import Clip
from tempme_jax.parameters import initialise, join, pretrained_paths, shapes, split
from tempme_jax.reducers.base import Reducer
from tempme_jax.reducers.tempme import TempMe
from tempme_jax.reducers.tome import ToMe
from tempme_jax.schedule import schedule

TOY = Architecture(
    embed_dim=8, image_size=32, patch=8, width=16, depth=4, heads=2,
    text_width=12, text_depth=1, text_heads=2, vocab_size=30, context_length=16,
)  # fmt: skip
FRAMES = 4
ADAPTERS = {
    "none": Adapter(),
    "full": Full(),
    "lora": LoRA(rank=2),
    "lora everywhere": LoRA(rank=3, targets=("qkv", "out", "fc", "proj")),
    "prompt": Prompt(count=3),
    "bottleneck": Bottleneck(width=2),
    "parallel bottleneck": Bottleneck(width=2, parallel=True),
}
REDUCERS = {
    "none": Reducer(),
    "tome": ToMe(r=1),
    "tempme": TempMe(r=1),
    "tempme at once": TempMe(r=1, layers=(0,), groups=(4,)),
    "tempme in part": TempMe(r=1, layers=(1, 2), groups=(2, 1)),
    "without positions": TempMe(r=1, clip_positions=False),
    "temporal modelling": TempMe(r=0, keep_cross=1.0, keep_intra=1.0),
    "token reduction": TempMe(
        r=1, layers=(1, 2, 3), groups=(1, 1, 1), clip_positions=False, round_kept=True
    ),
}


def build(adapter, reducer):
    reducer = REDUCERS[reducer].resolve(patches=TOY.patches, frames=FRAMES, depth=TOY.depth)
    return Clip(TOY, ADAPTERS[adapter], reducer)


def random_inputs(batch=2):
    rng = np.random.default_rng(0)
    side = TOY.image_size
    pixels = jnp.asarray(rng.standard_normal((batch, FRAMES, side, side, 3), dtype=np.float32))
    ids = jnp.asarray(rng.integers(1, 28, (batch, 6)), jnp.int32).at[:, 4].set(29)
    return pixels, ids


@pytest.mark.parametrize(("adapter", "reducer"), list(itertools.product(ADAPTERS, REDUCERS)))
def test_shapes_follow_the_schedule_of_every_pair(adapter, reducer):
    clip = build(adapter, reducer)
    steps = schedule(clip.reducer, frames=FRAMES, tokens=1 + TOY.patches, depth=TOY.depth)
    pixels, _ = random_inputs()
    (features, tokens), variables = jax.eval_shape(
        lambda: clip.init_with_output(jax.random.key(0), pixels, trace=True, method="encode_video")
    )
    chex.assert_shape(features, (2, TOY.embed_dim))
    chex.assert_shape(tokens.x, (2, steps[-1].clips, steps[-1].mlp, TOY.width))
    chex.assert_shape(tokens.size, (2, steps[-1].clips, steps[-1].mlp))
    chex.assert_shape(tokens.source, (2, FRAMES * TOY.patches))
    assert tokens.n_cls == steps[-1].n_cls
    assert features.dtype == jnp.float32
    paths = flax.traverse_util.flatten_dict(variables["params"]).keys()
    assert {path for path in pretrained_paths(TOY) if path[0] == "video"} <= paths


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_what_trains_is_split_off_and_joined_again(adapter):
    clip = build(adapter, "tempme")
    params = random_tree(clip, FRAMES)
    trainable, frozen = split(clip, params)
    chex.assert_trees_all_equal(join(trainable, frozen), params)
    names = {path[-1] for path in flax.traverse_util.flatten_dict(trainable)}
    expected = {
        "none": {"clip_position"},
        "lora": {"clip_position", "lora_a", "lora_b"},
        "prompt": {"clip_position", "tokens"},
        "bottleneck": {"clip_position", "kernel", "bias"},
    }
    if adapter in expected:
        assert names == expected[adapter]
    if adapter == "full":
        frozen_names = {"/".join(path) for path in flax.traverse_util.flatten_dict(frozen)}
        assert frozen_names == {
            "video/patches/kernel",
            "video/class_embedding",
            "video/position_embedding",
            "video/ln_pre/scale",
            "video/ln_pre/bias",
            "text/token_embedding",
            "text/position_embedding",
        }


@pytest.mark.parametrize("adapter", ["lora everywhere", "bottleneck"])
def test_a_fresh_adapter_is_the_backbone(adapter):
    """LoRA's B, the bottleneck's up and the clip positions are zero at the start."""
    clip, plain = build(adapter, "tempme"), build("none", "without positions")
    backbone = random_tree(plain, FRAMES)
    fresh = initialise(clip, FRAMES, shapes(clip, FRAMES).keys() - pretrained_paths(TOY), seed=1)
    params = flax.traverse_util.unflatten_dict(flax.traverse_util.flatten_dict(backbone) | fresh)
    pixels, ids = random_inputs()
    ours = jax.jit(clip.apply)({"params": params}, pixels, None, ids, None)
    theirs = jax.jit(plain.apply)({"params": backbone}, pixels, None, ids, None)
    chex.assert_trees_all_close(ours, theirs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("adapter", ["lora everywhere"])
def test_folded_is_unfolded(adapter):
    clip = build(adapter, "tempme")
    params = random_tree(clip, FRAMES)
    folded_adapter, folded_params = clip.adapter.fold(params)
    folded = clip.copy(adapter=folded_adapter)
    assert shapes(folded, FRAMES).keys() == flax.traverse_util.flatten_dict(folded_params).keys()
    pixels, ids = random_inputs()
    ours = jax.jit(folded.apply)({"params": folded_params}, pixels, None, ids, None)
    theirs = jax.jit(clip.apply)({"params": params}, pixels, None, ids, None)
    chex.assert_trees_all_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("adapter", ["full", "lora", "prompt", "bottleneck"])
def test_gradients_reach_what_trains(adapter):
    clip = build(adapter, "tempme")
    trainable, frozen = split(clip, random_tree(clip, FRAMES))
    pixels, ids = random_inputs()

    def loss(trainable):
        video, text = clip.apply({"params": join(trainable, frozen)}, pixels, None, ids, None)
        return (video * text).sum()

    gradients = flax.traverse_util.flatten_dict(jax.jit(jax.grad(loss))(trainable))
    untouched = {"/".join(p) for p, g in gradients.items() if not np.abs(g).max() > 0}
    # The loss above has no temperature, and softmax does not see what is added to all keys.
    assert untouched <= {"logit_scale"}
    assert all(np.isfinite(g).all() for g in gradients.values())


def test_lora_by_hand():
    """x W + b + (x A) B, with numbers that one can follow."""
    dense = LoRA(rank=1, targets=("qkv",)).linear(2, "qkv", None)
    params = {
        "kernel": jnp.eye(2),
        "bias": jnp.array([0.5, 0.0]),
        "lora_a": jnp.array([[1.0], [2.0]]),
        "lora_b": jnp.array([[10.0, 100.0]]),
    }
    out = dense.apply({"params": params}, jnp.array([[1.0, 1.0]]))
    np.testing.assert_array_equal(out, [[1 + 0.5 + 30, 1 + 300]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: methods.build("tempmee", TOY, 4),
            "unknown method: 'tempmee'.*did you mean 'tempme'",
        ),
        (
            lambda: methods.build("tempme", TOY, 4, {"rnk": 4}),
            "unknown option of method 'tempme': 'rnk'.*'rank'.*there are: clip_positions, groups",
        ),
        (lambda: LoRA(rank=0), "rank=0 must be a whole number of 1 or more"),
        (lambda: LoRA(targets=("qvk",)), r"\['qvk'\] are none of qkv, out, fc, proj"),
        (
            lambda: Architecture(activation="relu"),
            "unknown activation: 'relu' .* there are: gelu, quick_gelu",
        ),
        (lambda: Architecture(width=100, heads=3), "cannot divide width by heads: 100 by 3"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_options_reach_adapter_and_reducer():
    adapter, reducer = methods.build("tempme", TOY, 4, {"rank": 3, "r": 0, "groups": (2, 2)})
    assert adapter == LoRA(rank=3)
    assert (reducer.r, reducer.groups, reducer.layers) == (0, (2, 2), (1, 2))
