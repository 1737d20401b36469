"""PLEVU: its sentence by hand, its frames as a slow loop, what trains and what it costs."""

import functools

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_weights import make_random_tree

from tempme_jax import costs, methods
from tempme_jax.adapters.base import Adapter
from tempme_jax.adapters.plevu import PLEVU, Sentence, order_words
from tempme_jax.building import assemble
from tempme_jax.networks import macs
from tempme_jax.networks.architecture import ARCHITECTURES, Architecture
from tempme_jax.networks.clip import Clip
from tempme_jax.parameters import find_shapes, initialise, join, list_pretrained_paths, split
from tempme_jax.reducers.base import Reducer
from tempme_jax.reducers.tempme import TempMe

TOY = Architecture(
    embed_dim=16, image_size=16, patch=8, width=16, depth=2, heads=2,
    text_width=12, text_depth=2, text_heads=2, vocab_size=30, context_length=16,
)  # fmt: skip
FRAMES = 4
COUNT = 3
MASK = np.array([[True, True, False, True], [True, True, True, True]])
IDS = np.array([[28, 5, 6, 29, 0, 0], [28, 7, 8, 9, 4, 29]], np.int32)
PIXELS = np.random.default_rng(1).standard_normal((2, FRAMES, 16, 16, 3)).astype(np.float32)
# Joins the frames in pairs: the class tokens of all frames are pooled all the same.
CLIP = Clip(TOY, PLEVU(count=COUNT, heads=2), TempMe(r=0, layers=(1,), groups=(2,)))
CLIP = CLIP.copy(reducer=CLIP.reducer.resolve(patches=TOY.patches, frames=FRAMES, depth=TOY.depth))


@functools.cache
def make_toy():
    """Parameters, both towers, and the vectors of frames as they are before the pool."""
    params = make_random_tree(CLIP, FRAMES)

    def vectors_of_frames(pixels, mask):
        frames = CLIP.copy(adapter=Frames())
        return frames.apply({"params": params}, pixels, mask, method="encode_video")[0]

    def encode(pixels, mask, ids, text_mask):
        vectors = CLIP.apply({"params": params}, pixels, mask, ids, text_mask)
        return *vectors, vectors_of_frames(pixels, mask)

    return params, jax.jit(encode)


class Frames(Adapter):
    """Shows what the pool is given."""

    def pool(self, dtype):
        return lambda x, weight: x.reshape(len(x), -1)


def convert_to_float64(tree):
    return jax.tree.map(lambda a: np.asarray(a, np.float64), tree)


def apply_norm(p, x):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * p["scale"] + p["bias"]


def apply_linear(p, x):
    return x @ p["kernel"] + p["bias"]


def pool_slowly(p, frames):
    """The real frames of one video, with their places: [(place, vector)] -> [e]."""
    x = np.stack([vector + p["position"][place] for place, vector in frames])
    for name in ("block_0", "block_1"):
        block, heads = p[name], []
        y = apply_norm(block["ln_1"], x)
        for head in range(2):
            q, k, v = (
                y @ block["attn"][part]["kernel"][:, head] + block["attn"][part]["bias"][head]
                for part in ("query", "key", "value")
            )
            taken = np.zeros_like(v)
            for i in range(len(x)):
                weight = np.exp(k @ q[i] / np.sqrt(q.shape[1]))
                taken[i] = weight @ v / weight.sum()
            heads.append(taken @ block["attn"]["out"]["kernel"][head])
        x = x + sum(heads) + block["attn"]["out"]["bias"]
        y = apply_linear(block["fc"], apply_norm(block["ln_2"], x))
        x = x + apply_linear(block["proj"], y / (1 + np.exp(-1.702 * y)))
    return x.mean(axis=0)


def encode_text_slowly(p, ids):
    """[n] -> [e]: the published sequence, which fills all positions."""
    x = p["sentence"]["prompts"].copy()
    end = ids.argmax()
    x[0] = p["token_embedding"][ids[0]]
    for word in range(1, end):
        x[COUNT + word] = p["token_embedding"][ids[word]]
    x[end + 2 * COUNT] = p["token_embedding"][ids[end]]
    x = x + p["position_embedding"]
    d, c = TOY.text_width, TOY.text_width // TOY.text_heads
    for layer in range(TOY.text_depth):
        block = p[f"block_{layer}"]
        kernels = {name: {"kernel": a["kernel"].T, "bias": a["bias"]} for name, a in [
            *block["attn"].items(), *block["mlp"].items()
        ]}  # fmt: skip
        q, k, v = np.split(apply_linear(kernels["qkv"], apply_norm(block["ln_1"], x)), 3, axis=1)
        y = np.zeros_like(x)
        for part in (slice(start, start + c) for start in range(0, d, c)):
            for i in range(len(x)):
                weight = np.exp(k[: i + 1, part] @ q[i, part] / np.sqrt(c))
                y[i, part] = weight @ v[: i + 1, part] / weight.sum()
        x = x + apply_linear(kernels["out"], y)
        y = apply_linear(kernels["fc"], apply_norm(block["ln_2"], x))
        x = x + apply_linear(kernels["proj"], y / (1 + np.exp(-1.702 * y)))
    return apply_norm(p["ln_final"], x[end + 2 * COUNT]) @ p["projection"]


def test_the_sentence_by_hand():
    """Two prompts on either side: S p p words p p E; -1 is a prompt."""
    end = jnp.array([3, 1])
    words = [[0, -1, -1, 1, 2, -1, -1, 3], [0, -1, -1, -1, -1, 1, -1, -1]]
    np.testing.assert_array_equal(order_words(end, 8, 2), words)
    table = jnp.arange(100.0, 110.0)[:, None]
    ids = jnp.array([[8, 5, 6, 9]])
    x, size, end = Sentence(count=2, std=0.01, positions=10).apply(
        {"params": {"prompts": table}}, ids.astype(jnp.float32)[:, :, None], jnp.ones((1, 4)), ids
    )
    np.testing.assert_array_equal(x[0, :, 0], [8, 101, 102, 5, 6, 105, 106, 9])
    np.testing.assert_array_equal(end, [7])
    assert size.shape == (1, 8)


def test_texts_agree_with_the_published_sequence():
    """The causal mask hides rows after the end of a text, so ours has fewer of them."""
    params, encode = make_toy()
    _, text, _ = encode(PIXELS, MASK, IDS, IDS > 0)
    slow = convert_to_float64(params["text"])
    expected = [encode_text_slowly(slow, ids) for ids in IDS]
    np.testing.assert_allclose(text, expected, rtol=1e-5, atol=1e-5)


def test_frames_agree_with_a_slow_loop():
    """A masked frame is as one that is not there; the others keep their positions."""
    params, encode = make_toy()
    video, _, frames = encode(PIXELS, MASK, IDS, IDS > 0)
    slow, frames = convert_to_float64(params["video"]["pool"]), np.asarray(frames, np.float64)
    for vector, rows, mask in zip(video, frames.reshape(2, FRAMES, -1), MASK, strict=True):
        expected = pool_slowly(slow, [(i, rows[i]) for i in np.flatnonzero(mask)])
        np.testing.assert_allclose(vector, expected, rtol=1e-5, atol=1e-5)


def test_masked_frames_change_nothing():
    _, encode = make_toy()
    pixels = PIXELS.copy()
    pixels[~MASK] = 1e3
    video, *_ = encode(PIXELS, MASK, IDS, IDS > 0)
    np.testing.assert_array_equal(encode(pixels, MASK, IDS, IDS > 0)[0], video)
    nothing, *_ = encode(PIXELS, np.zeros_like(MASK), IDS, IDS > 0)
    np.testing.assert_array_equal(nothing, np.zeros((2, 16)))


def test_gradients_reach_what_trains():
    """But not the rows of the start, of words and ends, and behind them."""
    trainable, frozen = split(CLIP, make_toy()[0])

    def loss(trainable, *inputs):
        video, text = CLIP.apply({"params": join(trainable, frozen)}, *inputs)
        return (video * text).sum()

    gradients = jax.jit(jax.grad(loss))(trainable, PIXELS, MASK, IDS, IDS > 0)
    gradients = flax.traverse_util.flatten_dict(gradients, sep="/")
    for path, gradient in gradients.items():
        assert np.isfinite(gradient).all()
        # Softmax does not see what is added to all keys.
        assert path.endswith("key/bias") or np.abs(gradient).max() > 1e-4, path
    rows = np.abs(gradients["text/sentence/prompts"]).max(axis=1) > 0
    # 3 prompts, then 2 or 4 words, 3 prompts, the end: at 9 of the first text, 11 of the second.
    np.testing.assert_array_equal(np.flatnonzero(rows), [1, 2, 3, 6, 7, 8, 9, 10])
    assert {path.split("/")[1] for path in gradients} == {"sentence", "pool", "block_1"}
    assert "video/block_1/join_clips/clip_position" in gradients


def test_the_start():
    """Normal prompts and positions; blocks as PyTorch draws them."""
    network = Clip(TOY, PLEVU(count=COUNT), Reducer())
    learned = find_shapes(network, FRAMES).keys() - list_pretrained_paths(TOY)
    start = initialise(network, FRAMES, learned, seed=1)
    start = {"/".join(path): array for path, array in start.items()}
    assert 0.007 < start["text/sentence/prompts"].std() < 0.013
    assert 0.007 < start["video/pool/position"].std() < 0.013
    bounds = {
        "attn/query/kernel": (6 / (16 + 3 * 16)) ** 0.5,
        "attn/out/kernel": 0.25,
        "attn/key/bias": 0.0,
        "attn/out/bias": 0.0,
        "fc/kernel": 0.25,
        "fc/bias": 0.25,
        "proj/kernel": 0.125,
        "proj/bias": 0.125,
    }
    for name, bound in bounds.items():
        largest = np.abs(start[f"video/pool/block_1/{name}"]).max()
        assert 0.7 * bound <= largest <= bound, name


@jax.numpy_dtype_promotion("standard")  # Flax's own layers promote
def test_in_half_precision():
    network = Clip(TOY, PLEVU(count=COUNT), Reducer(), jnp.bfloat16)
    encode = functools.partial(network.init_with_output, jax.random.key(0))
    vectors, _ = jax.eval_shape(encode, PIXELS, MASK, IDS, IDS > 0)
    assert [(a.shape, a.dtype) for a in vectors] == [((2, 16), jnp.float32)] * 2


@pytest.mark.parametrize(("backbone", "gflops"), [("ViT-B/32", 53.12), ("ViT-B/16", 211.43)])
def test_gflops(backbone, gflops):
    arch = ARCHITECTURES[backbone]
    mac, paper = macs.count_macs(Clip(arch, PLEVU(), Reducer()), 12)
    assert paper / 1e9 == pytest.approx(gflops, rel=2e-3)
    plain, _ = macs.count_macs(Clip(arch), 12)
    assert mac - plain == 2 * (12 * 12 * 512**2 + 2 * 12**2 * 512)


@pytest.mark.parametrize(("frames", "parameters"), [(16, 6_352_384), (12, 6_350_336)])
def test_parameters(frames, parameters):
    network = Clip(ARCHITECTURES["ViT-B/32"], PLEVU(), Reducer())
    assert costs.count_trainable(network, frames) == parameters


def test_how_long_texts_may_be(monkeypatch):
    """43 words, start and end: 32 prompts take the other 32 of 77 positions."""
    arch = ARCHITECTURES["ViT-B/32"]
    monkeypatch.setitem(methods.METHODS, "plevu", (PLEVU(), Reducer()))
    make = functools.partial(assemble, arch, method="plevu", num_frames=12, dtype="float32")
    assert make(max_words=None, options={}).max_words == 32
    assert make(max_words=64, options={"count": 6}).max_words == 64
    with pytest.raises(ValueError, match="max_words=64 must be a whole number from 3 to 45"):
        make(max_words=64, options={})
    network = Clip(arch, PLEVU(), Reducer())
    encode = functools.partial(network.init, jax.random.key(0), method="encode_text")
    jax.eval_shape(encode, jnp.zeros((1, 45), jnp.int32))
    with pytest.raises(ValueError, match="46 ids and 32 prompts .* give at most 45 ids"):
        jax.eval_shape(encode, jnp.zeros((1, 46), jnp.int32))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PLEVU(count=7).check((), TOY), r"count=7: 14 prompts .* 16 positions; .* 1\.\.6"),
        (lambda: PLEVU(count=1, heads=3).check((), TOY), "heads=3 must divide the 16 channels"),
        (lambda: PLEVU(temporal_layers=0), "temporal_layers=0 must be a whole number of 1 or more"),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
