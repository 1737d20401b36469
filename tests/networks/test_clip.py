"""Laws of the towers: padding, order of the batch, nothing merged, precision, other devices."""

import chex
import flax.traverse_util
import hypothesis
import hypothesis.strategies as st
import jax
import jax.export
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from tempme_jax.adapters.base import Adapter
from tempme_jax.adapters.lora import LoRA
from tempme_jax.adapters.prompt import Prompt
from tempme_jax.networks.architecture import Architecture
from tempme_jax.networks.attention import Attention, Seen, attend, make_causal_bias
from tempme_jax.networks.clip import Clip
from tempme_jax.parameters import find_shapes
from tempme_jax.reducers.base import Reducer
from tempme_jax.reducers.tempme import TempMe

TOY = Architecture(
    embed_dim=8, image_size=32, patch=8, width=16, depth=3, heads=2,
    text_width=12, text_depth=2, text_heads=2, vocab_size=30, context_length=16,
)  # fmt: skip
FRAMES = 6
TEMPME = TempMe(r=2, layers=(1, 2), groups=(2, 3), keep_cross=0.7, keep_intra=0.9)
PIXELS = np.random.default_rng(0).standard_normal((3, FRAMES, 32, 32, 3), dtype=np.float32)
MASK = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0]], bool)


def make(adapter=None, reducer=TEMPME, dtype=None):
    """A toy and random parameters; CLIP's own are the same under every adapter and reducer."""
    network = Clip(TOY, adapter or Adapter(), reducer, dtype)
    flat = {
        path: np.random.default_rng(sum(map(ord, "/".join(path)))).standard_normal(shape) * 0.3
        for path, shape in find_shapes(network, FRAMES).items()
    }
    tree = flax.traverse_util.unflatten_dict({p: jnp.float32(a) for p, a in flat.items()})
    return network, {"params": tree}


@pytest.fixture(scope="module")
def traced():
    """The jitted video tower of TempMe with LoRA, with a mask and a source map."""
    network, params = make(LoRA(rank=2))
    run = jax.jit(lambda x, m: network.apply(params, x, m, trace=True, method="encode_video"))
    return lambda pixels, mask: run(jnp.asarray(pixels), jnp.asarray(mask))


@hypothesis.given(st.integers(0, 2**32 - 1), st.sampled_from([1.0, 1e3, 1e30, np.nan, np.inf]))
@hypothesis.settings(max_examples=10, deadline=None)
def test_what_padding_holds_changes_nothing(traced, seed, scale):
    noise = np.random.default_rng(seed).standard_normal(PIXELS.shape) * scale
    dirty = np.where(MASK[:, :, None, None, None], PIXELS, noise).astype(np.float32)
    chex.assert_trees_all_close(traced(dirty, MASK)[0], traced(PIXELS, MASK)[0], atol=1e-6)


def test_padding_is_never_looked_at():
    """Also behind the patches: garbage in tokens of size 0, not only in their pixels."""
    _, params = make(LoRA(rank=2))
    params = params["params"]["video"]["block_0"]["attn"]
    module = Attention(2, LoRA(rank=2))
    x = jnp.asarray(np.random.default_rng(1).standard_normal((1, 1, 7, 16)), jnp.float32)
    size = jnp.array([[[1.0, 2.0, 0.0, 3.0, 0.0, 1.0, 1.0]]])
    real = np.asarray(size[0, 0] > 0)
    out, _, _ = module.apply({"params": params}, x, size, proportional=True)
    dirty = jnp.where(size[..., None] > 0, x, 1e4)
    again, _, _ = module.apply({"params": params}, dirty, size, proportional=True)
    np.testing.assert_allclose(again[0, 0, real], out[0, 0, real], atol=1e-6)


def test_a_video_without_frames_is_zero_and_finite(traced):
    features, _ = traced(PIXELS, np.zeros_like(MASK))
    np.testing.assert_array_equal(features, np.zeros((3, 8)))


def test_permuting_the_batch_permutes_the_result(traced):
    order = np.array([2, 0, 1])
    there, _ = traced(PIXELS[order], MASK[order])
    np.testing.assert_allclose(there, traced(PIXELS, MASK)[0][order], atol=1e-6)


def test_sizes_are_conserved_and_the_source_map_counts_them(traced):
    _, tokens = traced(PIXELS, np.ones_like(MASK))
    assert tokens.x.shape[1] == 1 and tokens.n_cls == FRAMES
    for video in range(3):
        sizes = np.asarray(tokens.size[video, 0])
        counts = np.bincount(np.asarray(tokens.source[video]), minlength=len(sizes))
        np.testing.assert_array_equal(counts[FRAMES:], sizes[FRAMES:])
        assert sizes[FRAMES:].sum() == FRAMES * TOY.patches
        assert not counts[:FRAMES].any()


def test_nothing_merged_and_nothing_joined_is_plain_clip():
    nothing = TempMe(
        r=0, layers=(1, 2), groups=(1, 1), keep_cross=1.0, keep_intra=1.0, clip_positions=False
    )
    ours, plain = make(reducer=nothing), make(reducer=Reducer())
    results = [
        jax.jit(lambda x, c=network, p=params: c.apply(p, x, method="encode_video")[0])(PIXELS)
        for network, params in (ours, plain)
    ]
    chex.assert_trees_all_close(*results, atol=1e-6)


def test_the_mean_over_frames_is_of_unit_vectors():
    """Every frame by itself, then the mean: one frame gives a vector of length 1."""
    network, params = make(reducer=Reducer())
    encode = jax.jit(lambda x, m: network.apply(params, x, m, method="encode_video")[0])
    singles = [encode(PIXELS[:1], np.arange(FRAMES)[None] == f) for f in range(FRAMES)]
    np.testing.assert_allclose(np.linalg.norm(singles, axis=-1), np.ones((FRAMES, 1)), rtol=1e-5)
    whole = encode(PIXELS[:1], np.ones((1, FRAMES), bool))
    np.testing.assert_allclose(whole, np.mean(singles, axis=0), atol=1e-6)


@pytest.mark.parametrize("adapter", [LoRA(rank=2), Prompt(count=3)])
def test_what_follows_the_end_of_a_text_changes_nothing(adapter):
    network, params = make(adapter)
    ids = jnp.array([[28, 5, 6, 29, 0, 0, 0], [28, 7, 29, 0, 0, 0, 0]], jnp.int32)
    encode = jax.jit(lambda ids, mask: network.apply(params, ids, mask, method="encode_text"))
    masked = encode(ids, ids > 0)
    chex.assert_trees_all_close(encode(ids, jnp.ones_like(ids, bool)), masked, atol=1e-6)
    chex.assert_trees_all_close(encode(jnp.where(ids > 0, ids, 9), ids > 0), masked, atol=1e-6)
    assert np.abs(encode(ids.at[0, 1].set(8), ids > 0)[0] - masked[0]).max() > 1e-3


def test_learned_tokens_stand_behind_the_first_word():
    """Each of 3 words sees the words up to itself and, but for the first, 2 learned tokens."""
    visible = make_causal_bias(3, 5)[0, 0, 0] == 0
    np.testing.assert_array_equal(visible, [[1, 0, 0, 0, 0], [1, 1, 0, 1, 1], [1, 1, 1, 1, 1]])


def test_a_key_counts_as_often_as_it_says():
    """Logits log(2), 0 and, of what counts 0, far more than both; the counts are 1, 4 and 0."""
    q = jnp.ones((1, 1, 1, 1, 1))
    k = jnp.array([np.log(2), 0.0, 1e6])[None, None, None, :, None]
    v = jnp.array([3.0, 6.0, 1e6])[None, None, None, :, None]
    counts = jnp.array([[[1.0, 4.0, 0.0]]])
    y, weight = attend(q, Seen(k, v, counts))
    np.testing.assert_allclose(weight[0, 0, 0], [2 / 6, 4 / 6, 0], rtol=1e-6)
    np.testing.assert_allclose(y.ravel(), [5.0], rtol=1e-6)


@jax.numpy_dtype_promotion("standard")  # Flax's layer norm and bfloat16 need it
def test_half_precision_keeps_results_near_and_outputs_float32():
    near, far = make(LoRA(rank=2), dtype=jnp.bfloat16), make(LoRA(rank=2))
    results = [
        jax.jit(lambda x, c=network, p=params: c.apply(p, x, method="encode_video")[0])(PIXELS)
        for network, params in (near, far)
    ]
    assert results[0].dtype == jnp.float32
    a, b = (r / np.linalg.norm(r, axis=1, keepdims=True) for r in map(np.asarray, results))
    assert (a * b).sum(axis=1).min() > 0.98


def test_the_encoder_exports_for_other_devices():
    network, params = make(LoRA(rank=2))
    encode = jax.jit(lambda p, x, m: network.apply(p, x, m, method="encode_video")[0])
    exported = jax.export.export(encode, platforms=("cpu", "cuda", "tpu"))(params, PIXELS, MASK)
    assert exported.platforms == ("cpu", "cuda", "tpu")
    again = exported.call(params, PIXELS, MASK)
    np.testing.assert_allclose(again, encode(params, PIXELS, MASK), atol=1e-6)


@pytest.mark.parametrize(
    ("method", "arrays"),
    [
        ("encode_video", (PIXELS[:, :, :16, :16],)),
        ("encode_video", (PIXELS[..., :1],)),
        ("encode_text", (np.ones(7, np.int32),)),
    ],
)
def test_wrong_shapes_stop_at_the_entrance(method, arrays):
    network, params = make()
    with pytest.raises((AssertionError, jaxtyping.TypeCheckError)):
        jax.eval_shape(lambda: network.apply(params, *map(jnp.asarray, arrays), method=method))


def test_too_many_ids_say_how_many_there_can_be():
    network, params = make(Prompt(count=3))
    with pytest.raises(ValueError, match="14 ids and 3 prompts .* 16 positions; give at most 13"):
        network.apply(params, jnp.ones((1, 14), jnp.int32), method="encode_text")
