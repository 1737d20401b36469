"""TESTA against a slow loop written from docs/methods/testa.md, its laws, and its costs."""

import functools

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_weights import make_random_tree
from slow_merging import match_slowly, merge_slowly

from tempme_jax import costs
from tempme_jax.adapters.base import Adapter
from tempme_jax.adapters.lora import LoRA
from tempme_jax.networks import macs
from tempme_jax.networks.architecture import Architecture
from tempme_jax.networks.block import Block
from tempme_jax.networks.clip import Clip
from tempme_jax.networks.tokens import Evidence, Stage, make_tokens
from tempme_jax.parameters import find_shapes, initialise, join, list_pretrained_paths, split
from tempme_jax.reducers.base import Reducer
from tempme_jax.reducers.schedule import make_schedule
from tempme_jax.reducers.testa import TESTA, AcrossFrames, match_frames

B32, B16 = Architecture(), Architecture(patch=16)
TOY = Architecture(
    embed_dim=8, image_size=24, patch=8, width=16, depth=3, heads=2,
    text_width=12, text_depth=1, text_heads=2, vocab_size=30, context_length=16,
)  # fmt: skip
FRAMES = 4
HEADS = 2


def make_clip(reducer, adapter=None, arch=TOY, frames=FRAMES):
    reducer = reducer.resolve(patches=arch.patches, frames=frames, depth=arch.depth)
    return Clip(arch, adapter or LoRA(rank=2), reducer)


def list_counts(reducer, arch=B32, frames=12):
    reducer = make_clip(reducer, arch=arch, frames=frames).reducer
    return make_schedule(reducer, frames=frames, tokens=1 + arch.patches, depth=arch.depth)


def match_frames_slowly(keys, real, r, vote):
    """Where every frame goes; keys [n, t, k]."""
    n, t = keys.shape[:2]
    unit = keys / np.linalg.norm(keys, axis=2, keepdims=True)
    evens, odds = range(0, t, 2), range(1, t, 2)
    value, target = {}, {}
    for even in evens:
        votes, best = dict.fromkeys(odds, 0), []
        for token in range(n):
            alike = [unit[token, even] @ unit[token, o] if real[o] else -np.inf for o in odds]
            votes[odds[int(np.argmax(alike))]] += 1
            best.append(max(alike))
        target[even] = max(odds, key=votes.get)
        value[even] = {"mean": np.mean, "min": min}[vote](best) if real[even] else np.inf
    goes = sorted(evens, key=lambda even: -value[even])[:r]
    order = [even for even in evens if even not in goes] + list(odds)
    return np.array([order.index(target[f] if f in goes else f) for f in range(t)])


def apply_linear(p, x, lora=""):
    y = x @ p["kernel"].T + p["bias"]
    return y + x @ p[lora + "lora_a"] @ p[lora + "lora_b"] if lora + "lora_a" in p else y


def apply_norm(p, x):
    x = x - x.mean(axis=-1, keepdims=True)
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-5) * p["scale"] + p["bias"]


def attend_slowly(p, x, seen, lora=""):
    """One sequence [n, d]: what it takes in, and the mean of the keys over heads."""
    q, k, v = (
        a.reshape(len(x), HEADS, -1) for a in np.split(apply_linear(p["qkv"], x, lora), 3, axis=1)
    )
    heads = []
    for h in range(HEADS):
        weight = np.exp(q[:, h] @ k[:, h].T / np.sqrt(k.shape[2])) * seen
        heads.append(weight / np.maximum(weight.sum(axis=1, keepdims=True), 1e-9) @ v[:, h])
    return apply_linear(p["out"], np.concatenate(heads, axis=1)), k.mean(axis=1)


def apply_block_slowly(p, x, size, r_frame, r_patch, vote, first):
    """One video [t, n, d]: tokens, sizes, and where each token went, as (frame, token).

    Tokens from `first` on attend across frames.
    """
    t, n, d = x.shape
    of_index = [
        attend_slowly(p["attn"], apply_norm(p["ln_1"], x[:, j]), size[:, j] > 0, "temporal_")
        for j in range(first, n)
    ]
    y, keys = (np.stack(a) for a in zip(*of_index, strict=True))
    x = x.copy()
    x[:, first:] += p["across_frames"]["gamma"] * y.swapaxes(0, 1)
    frame_at = match_frames_slowly(keys, size[:, 0] > 0, r_frame, vote)
    merged = [merge_slowly(x[:, j], size[:, j], frame_at, t - r_frame) for j in range(n)]
    x, size = (np.stack(a, axis=1) for a in zip(*merged, strict=True))
    out, out_size, token_at = [], [], []
    for frame, sizes in zip(x, size, strict=True):
        y, keys = attend_slowly(p["attn"], apply_norm(p["ln_1"], frame), sizes > 0)
        token_at.append(match_slowly(keys, r_patch, 1, sizes))
        frame, sizes = merge_slowly(frame + y, sizes, token_at[-1], n - r_patch)
        hidden = apply_linear(p["mlp"]["fc"], apply_norm(p["ln_2"], frame))
        out.append(frame + apply_linear(p["mlp"]["proj"], hidden / (1 + np.exp(-1.702 * hidden))))
        out_size.append(sizes)
    where = [[(frame_at[f], token_at[frame_at[f]][j]) for j in range(n)] for f in range(t)]
    return np.stack(out), np.stack(out_size), where


@pytest.mark.parametrize(("vote", "first"), [("min", 1), ("mean", 0)])
def test_a_block_agrees_with_a_slow_loop(vote, first):
    """With and without padding; and, where the gate is zero, nothing is added across frames."""
    t, n, d, r_frame, r_patch = 5, 8, 8, 2, 2
    reducer = TESTA(
        r=1, layers=(0,), r_frame=r_frame, r_patch=r_patch, vote=vote, classes_across=first == 0
    )
    stage = reducer.stage(0, Stage(clips=t, n_cls=1, attention=n, mlp=n))
    assert stage == Stage(clips=3, n_cls=1, attention=8, mlp=6, temporal=5, across=8 - first)
    block = Block("video", 0, HEADS, "quick_gelu", LoRA(rank=2), reducer)
    rng = np.random.default_rng(0)
    x, size = rng.standard_normal((2, t, n, d)), rng.integers(1, 4, (2, t, n))
    size[1, 3] = 0
    tokens = make_tokens(jnp.float32(x), None, trace=True).replace(size=jnp.float32(size))
    tree = jax.eval_shape(lambda: block.init(jax.random.key(0), tokens, stage)["params"])
    params = jax.tree.map(lambda a: rng.standard_normal(a.shape) * 0.5, tree)
    apply = jax.jit(lambda params, tokens: block.apply({"params": params}, tokens, stage))
    for gamma in (params["across_frames"]["gamma"], np.zeros(d)):
        params["across_frames"]["gamma"] = gamma
        ours = apply(jax.tree.map(jnp.float32, params), tokens)
        for video in range(2):
            slow, slow_size, where = apply_block_slowly(
                params, x[video], size[video], r_frame, r_patch, vote, first
            )
            np.testing.assert_array_equal(ours.size[video], slow_size)
            real = slow_size > 0
            np.testing.assert_allclose(ours.x[video][real], slow[real], atol=1e-5, rtol=1e-5)
            source = [[f * (n - r_patch) + j for f, j in row[1:]] for row in where]
            held = size[video, :, 0] > 0
            np.testing.assert_array_equal(
                ours.source[video].reshape(t, n - 1)[held], np.array(source)[held]
            )


@functools.partial(jax.jit, static_argnames="vote")
def match(keys, real, *, vote):
    return jax.vmap(functools.partial(match_frames, r=2, vote=vote))(keys, real)


@pytest.mark.parametrize("vote", ["mean", "min"])
def test_frames_are_matched_as_by_a_slow_loop(vote):
    rng = np.random.default_rng(1)
    keys, real = rng.standard_normal((20, 4, 7, 3)), rng.random((20, 7)) > 0.3
    real[:10], real[:, 1] = True, True
    ours = match(jnp.float32(keys), jnp.asarray(real), vote=vote)
    for video in range(20):
        slow = match_frames_slowly(keys[video], real[video], 2, vote)
        # Where padding goes depends on what it holds, and concerns nobody.
        np.testing.assert_array_equal(ours[video][real[video]], slow[real[video]])


def test_votes_by_hand():
    """Two of three tokens of frames 0 and 2 name frame 3; frame 0 has the token most like none."""
    a, b, between, even = [1.0, 0.0], [0.0, 1.0], [0.8, 0.6], [0.7, 0.7]
    keys = jnp.array([[a, b, between, a], [a, b, between, a], [even, a, a, b]])
    real = jnp.ones(4, bool)
    # Frame 0: 1, 1, 0.71; frame 2: 0.8, 0.8, 1.
    assert match_frames(keys, real, r=1, vote="mean").tolist() == [2, 1, 0, 2]
    assert match_frames(keys, real, r=1, vote="min").tolist() == [0, 1, 2, 2]


def test_frames_merge_by_size_and_without_gate_all_is_added():
    """Frame 0 goes into frame 1, class token too, and frame 2 is now the first."""

    def attend(x, size):
        keys = jnp.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        return jnp.full_like(x, 10), Evidence(jnp.broadcast_to(keys, (1, 2, 3, 2)), size)

    x = jnp.array([[1.0, 2.0], [5.0, 6.0], [7.0, 8.0]])[None, :, :, None]
    size = jnp.array([[[1.0, 3.0], [1.0, 1.0], [1.0, 1.0]]])
    tokens = make_tokens(x, None, trace=True).replace(size=size)
    for gate, added in ((False, 10), (True, 0)):
        module = AcrossFrames(2, gate, "mean", classes_across=True)
        call = functools.partial(module.init_with_output, jax.random.key(0), attend=attend)
        merged, _ = jax.jit(call)(tokens)
        expected = added + np.array([[7, 8], [3, 3]])
        np.testing.assert_array_equal(merged.x[0, :, :, 0], expected)
        np.testing.assert_array_equal(merged.size[0], [[1, 1], [2, 4]])
        np.testing.assert_array_equal(merged.source[0], [3, 3, 1])


def test_laws_of_a_tower():
    """Masks, the source map, the weight of frames; and gradients reach all that trains."""
    network = make_clip(TESTA(r=1, layers=(1, 2)))
    trainable, frozen = split(network, make_random_tree(network, FRAMES))
    mask = jnp.array([[True, True, True, False], [True, True, True, True]])
    pixels = jax.random.normal(jax.random.key(0), (2, FRAMES, 24, 24, 3))

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def run(trainable, pixels):
        params = {"params": join(trainable, frozen)}
        video, tokens = network.apply(params, pixels, mask, trace=True, method="encode_video")
        return (video**3).sum(), (video, tokens)

    (_, (video, tokens)), gradients = run(trainable, pixels)
    (_, (again, _)), _ = run(trainable, pixels.at[0, 3].set(99))
    np.testing.assert_array_equal(video, again)
    assert tokens.x.shape == (2, 2, 10 - 3, 16)
    np.testing.assert_array_equal(tokens.size[:, :, 0].sum(axis=1), [3, 4])
    for row in range(2):
        patches = tokens.source[row].reshape(FRAMES, 9)[mask[row]]
        count = np.bincount(patches.ravel(), minlength=14).reshape(2, 7)
        np.testing.assert_array_equal(count[:, 1:], tokens.size[row, :, 1:])
    flat = flax.traverse_util.flatten_dict(gradients)
    assert all(np.isfinite(g).all() for g in flat.values())
    video_paths = {path for path in flat if path[0] == "video"}
    assert {path for path, g in flat.items() if np.abs(g).max() > 0} == video_paths
    assert {path[-1] for path in video_paths if "block_1" in path} == {
        "lora_a", "lora_b", "temporal_lora_a", "temporal_lora_b", "gamma",
    }  # fmt: skip
    assert network.adapter.fold(join(trainable, frozen))[0] == network.adapter


def test_a_fresh_one_that_merges_nothing_is_the_backbone():
    network = make_clip(TESTA(r=0, r_frame=0, r_patch=0))
    plain = make_clip(Reducer(), Adapter())
    backbone = make_random_tree(plain, FRAMES)
    fresh = initialise(
        network, FRAMES, find_shapes(network, FRAMES).keys() - list_pretrained_paths(TOY), seed=1
    )
    assert ("video", "block_2", "across_frames", "gamma") in fresh
    params = flax.traverse_util.unflatten_dict(flax.traverse_util.flatten_dict(backbone) | fresh)
    pixels = jax.random.normal(jax.random.key(0), (2, FRAMES, 24, 24, 3))
    ours, theirs = (
        jax.jit(functools.partial(each.apply, method="encode_video"))({"params": p}, pixels)[0]
        for each, p in ((network, params), (plain, backbone))
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_published_trace_and_cost():
    """Counted independently: 40.599 ("fit"), 40.514 (products).

    The script projects 12 class tokens in both; of products we count the 8 that are left. It lets
    class tokens attend across frames.
    """
    stages = list_counts(TESTA())
    assert [(s.clips, s.attention, s.mlp) for s in stages[7:]] == [
        (12, 36, 34), (11, 34, 31), (10, 31, 28), (9, 28, 25), (8, 25, 22),
    ]  # fmt: skip
    assert [s.temporal for s in stages] == [0] * 8 + [12, 11, 10, 9]
    assert [s.across for s in stages] == [0] * 8 + [33, 30, 27, 24]
    network = make_clip(TESTA(), LoRA(), B32, 12)
    projections = 4 * 768 * 512
    of_classes = sum(4 * t * 768**2 + 2 * t**2 * 768 for t in (12, 11, 10, 9))
    for reducer, apart in ((TESTA(), of_classes), (TESTA(classes_across=True), 0)):
        counted = macs.count_macs(make_clip(reducer, LoRA(), B32, 12), 12)
        expected = [40.514 - (projections + apart) / 1e9, 40.599]
        assert [count / 1e9 for count in counted] == pytest.approx(expected, abs=5e-4)
    assert costs.count_output_tokens(network, tuple(stages)) == 8 * 22
    assert costs.count_trainable(network, 12) == 592_896
    assert costs.count_trainable(make_clip(TESTA(gate=False), LoRA(), B32, 12), 12) == 589_824


def test_options_follow_the_backbone():
    reducer = TESTA().resolve(patches=196, frames=12, depth=12)
    assert reducer == TESTA(r=10, layers=(8, 9, 10, 11), r_frame=1, r_patch=12)
    assert [reducer.is_proportional(layer) for layer in (7, 8)] == [True, False]
    assert list_counts(TESTA(), B16)[-1] == Stage(8, 1, attention=81, mlp=69, temporal=9, across=80)
    toy = TESTA(r=1, layers=(2,), r_patch=1)
    assert TESTA().resolve(patches=16, frames=8, depth=3) == toy
    assert hash(TESTA(layers=[3])) == hash(TESTA(layers=(3,)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: list_counts(TESTA(), frames=3),
            r"r_frame=1 is too large for block 10: 1 frames are left .* choose it in 0\.\.0",
        ),
        (
            lambda: list_counts(TESTA(r_patch=17)),
            r"r=17 is too large for block 8: 34 tokens .* most 16",
        ),
        (lambda: list_counts(TESTA(layers=(8, 12))), r"layers=\(8, 12\) must lie in 0\.\.11"),
        (lambda: TESTA(layers=(4, 0)), r"layers=\(4, 0\) must be .* ascending"),
        (lambda: TESTA(vote="mode"), "unknown vote: 'mode'.* there are: mean, min"),
        (lambda: TESTA(r_frame=-1), "r_frame=-1 must be a whole number"),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
