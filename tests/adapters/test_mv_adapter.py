"""MV-Adapter against slow loops written from its equations; what trains; what it costs."""

import dataclasses

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_weights import make_random_tree

from tempme_jax import costs
from tempme_jax.adapters.base import Site
from tempme_jax.adapters.mv_adapter import MVAdapter, align_to_end, is_clip_bias
from tempme_jax.networks import macs
from tempme_jax.networks.architecture import ARCHITECTURES, Architecture
from tempme_jax.networks.clip import Clip
from tempme_jax.networks.tokens import Tokens
from tempme_jax.parameters import find_shapes, initialise, join, list_pretrained_paths, split
from tempme_jax.reducers.base import Reducer
from tempme_jax.reducers.tempme import TempMe
from tempme_jax.reducers.tome import ToMe

TOY = Architecture(
    embed_dim=6, image_size=24, patch=8, width=12, depth=2, heads=2,
    text_width=8, text_depth=1, text_heads=2, vocab_size=30, context_length=16,
)  # fmt: skip
FRAMES, WORDS = 4, 7
SMALL = MVAdapter(width=4, calibration=3, factor=5, tied=1, words=WORDS)


def apply_quick_gelu(x):
    return x / (1 + np.exp(-1.702 * x))


def apply_norm(x, p):
    x = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
    return x * p["scale"] + p["bias"]


def apply_linear(x, p):
    return x @ p["kernel"] + p.get("bias", 0)


def transform_slowly(x, p, sees):
    """Layer norm, pre-norm block of two heads, QuickGELU; `sees(query, key)`."""
    n, m = x.shape
    x = np.stack([apply_norm(x[i] + p["position_embedding"][i], p["ln_pre"]) for i in range(n)])
    p = p["block"]
    qkv = [apply_linear(apply_norm(row, p["ln_1"]), p["attn"]["qkv"]) for row in x]
    taken = np.zeros((n, m))
    for head in range(2):
        of = slice(head * m // 2, (head + 1) * m // 2)
        for i in range(n):
            q = qkv[i][:m][of]
            keys = [j for j in range(n) if sees(i, j)]
            logits = np.array([q @ qkv[j][m : 2 * m][of] for j in keys]) / np.sqrt(m // 2)
            weight = np.exp(logits) / np.exp(logits).sum()
            taken[i, of] = sum(w * qkv[j][2 * m :][of] for w, j in zip(weight, keys, strict=True))
    out = np.zeros((n, m))
    for i in range(n):
        y = x[i] + apply_linear(taken[i], p["attn"]["out"])
        inner = apply_quick_gelu(apply_linear(apply_norm(y, p["ln_2"]), p["mlp"]["fc"]))
        out[i] = y + apply_linear(inner, p["mlp"]["proj"])
    return apply_quick_gelu(out)


def project_down_slowly(p, factor, tie):
    """The down-projection with its channels multiplied by M f + b."""
    kernel = p["kernel"].copy()
    if factor is not None:
        beta = apply_linear(factor, p["modulation"])
        for i in range(len(beta)):
            kernel[(i, slice(None)) if tie == "in" else (slice(None), i)] *= beta[i]
    return {"kernel": kernel, "bias": p["bias"]}


def adapt_video_slowly(y, size, n_cls, p, factor, tie):
    """Adapt one video, [t, n, d], as docs/methods/mv_adapter.md describes."""
    t, n, _ = y.shape
    down = project_down_slowly(p["down"], factor, tie)
    h = np.stack(
        [[apply_quick_gelu(apply_linear(y[i, j], down)) for j in range(n)] for i in range(t)]
    )
    places = [(i, j) for i in range(t) for j in range(n_cls)]
    real = [size[place] > 0 for place in places]
    means = []
    for i, _ in places:
        seen = [h[i, j] for j in range(n_cls, n) if size[i, j] > 0]
        means.append(np.mean(seen, axis=0) if seen else np.zeros(h.shape[2]))
    sequence = np.stack([p["video"], *(h[place] for place in places), *means])
    is_real = [True, *real, *real]
    after = transform_slowly(sequence, p["transformer"], lambda i, j: is_real[j])
    f, c = len(places), p["calibration"]
    a = np.zeros_like(y)
    for i in range(t):
        for j in range(n_cls, n):
            a[i, j] = apply_linear(h[i, j], p["up"])
    for k, place in enumerate(places):
        u = np.concatenate([after[1 + k] + after[1 + f + k], apply_linear(after[0], c["video"])])
        alpha = 1 + apply_linear(np.maximum(apply_linear(real[k] * u, c["down"]), 0), c["up"])
        a[place] = apply_linear(alpha * after[1 + k], p["up"])
    return y + 0.1 * a


def adapt_text_slowly(y, p, factor, tie):
    """One text without padding, [n, d]."""
    down = project_down_slowly(p["down"], factor, tie)
    h = np.stack([apply_linear(row, down) for row in y])
    h = transform_slowly(h, p["transformer"], lambda i, j: j <= i)
    return y + 0.1 * np.stack([apply_linear(row, p["up"]) for row in h])


def make_random_branch(adapter, tower, output, tokens):
    """The adapter's module of a tower with random parameters, its last block tied or not."""
    rng = np.random.default_rng(1)
    factor = jnp.asarray(rng.standard_normal(5), jnp.float32) if adapter.tied else None
    shared = {tower: (None, factor)}
    module = adapter.branch("mlp", Site(tower, 1))
    shape = jax.eval_shape(lambda: module.init(jax.random.key(0), output, tokens, shared))
    draw = lambda a: jnp.asarray(0.5 * rng.standard_normal(a.shape), jnp.float32)  # noqa: E731
    params = jax.tree.map(draw, shape["params"])
    wide = jax.tree.map(lambda a: np.asarray(a, np.float64), (params, factor))
    return jax.jit(module.apply), {"params": params}, shared, *wide


def make_random_clips(n_cls):
    """Two videos of four frames; the last of the second is none, and padding with a patch."""
    rng = np.random.default_rng(n_cls)
    t, n = FRAMES // n_cls, n_cls + 3
    size = rng.integers(1, 3, (2, t, n)).astype(np.float32)
    size[1, -1, n_cls - 1] = 0
    size[1, -1, (n_cls if n_cls == 1 else -1) :] = 0
    return rng.standard_normal((2, t, n, 12)).astype(np.float32), size


@pytest.mark.parametrize(("n_cls", "tie"), [(1, "in"), (2, "out"), (1, None)])
def test_of_frames_agrees_with_a_slow_loop(n_cls, tie):
    adapter = dataclasses.replace(SMALL, tied=2 if tie else 0, tie=tie or "in")
    y, size = make_random_clips(n_cls)
    tokens = Tokens(jnp.zeros_like(y), jnp.asarray(size), n_cls=n_cls)
    apply, variables, shared, p, factor = make_random_branch(
        adapter, "video", jnp.asarray(y), tokens
    )
    ours = apply(variables, jnp.asarray(y), tokens, shared)
    for video in range(2):
        slow = adapt_video_slowly(np.float64(y[video]), size[video], n_cls, p, factor, tie)
        np.testing.assert_allclose(ours[video], slow, atol=1e-5)
    garbage = jnp.asarray(np.where(size[..., None] > 0, y, 100))
    again = apply(variables, garbage, tokens, shared)
    np.testing.assert_array_equal(np.asarray(again)[size > 0], np.asarray(ours)[size > 0])


@pytest.mark.parametrize("tie", ["in", "out"])
def test_of_words_agrees_with_a_slow_loop(tie):
    """The second text is shorter; both are shorter than there are positions."""
    adapter = dataclasses.replace(SMALL, tie=tie)
    y = np.random.default_rng(0).standard_normal((2, 1, 5, 8)).astype(np.float32)
    lengths = (5, 3)
    size = (np.arange(5)[None] < np.array(lengths)[:, None]).astype(np.float32)[:, None]
    tokens = Tokens(jnp.zeros_like(y), jnp.asarray(size), n_cls=0)
    apply, variables, shared, p, factor = make_random_branch(
        adapter, "text", jnp.asarray(y), tokens
    )
    ours = apply(variables, jnp.asarray(y), tokens, shared)
    for text, length in enumerate(lengths):
        slow = adapt_text_slowly(np.float64(y[text, 0, :length]), p, factor, tie)
        np.testing.assert_allclose(ours[text, 0, :length], slow, atol=1e-5)


def make_model(adapter, reducer):
    reducer = reducer.resolve(patches=TOY.patches, frames=FRAMES, depth=TOY.depth)
    return Clip(TOY, adapter, reducer)


def make_random_inputs():
    rng = np.random.default_rng(0)
    pixels = jnp.asarray(rng.standard_normal((2, FRAMES, 24, 24, 3)), jnp.float32)
    ids = jnp.asarray(rng.integers(1, 28, (2, 6)), jnp.int32).at[:, 4].set(29)
    mask = jnp.array([[True] * FRAMES, [True] * 3 + [False]])
    return pixels, mask, ids, jnp.arange(6)[None] < jnp.array([[6], [5]])


def test_gradients_reach_all_that_trains_beside_tempme():
    network = make_model(SMALL, TempMe(r=1, layers=(1,), groups=(2,)))
    trainable, frozen = split(network, make_random_tree(network, FRAMES))

    def loss(trainable):
        video, text = network.apply({"params": join(trainable, frozen)}, *make_random_inputs())
        return (video * text).sum()

    gradients = flax.traverse_util.flatten_dict(jax.jit(jax.grad(loss))(trainable))
    assert all(np.isfinite(g).all() for g in gradients.values())
    assert not {path for path, g in gradients.items() if not np.abs(g).max() > 0}
    last = {("video", "block_1"), ("text", "block_0")}
    assert {path[:2] for path in gradients if "modulation" in path} == last


def test_factors_belong_to_the_last_blocks():
    factors = jnp.arange(2.0)[:, None]
    assert align_to_end(factors, 4) == (None, None, 0, 1)
    assert align_to_end(factors, 1) == (1,)


@pytest.mark.slow
@jax.numpy_dtype_promotion("standard")  # Flax's layer norm and bfloat16 need it
def test_beside_tome_in_half_precision_and_computed_again():
    network = make_model(SMALL, ToMe(r=2)).copy(remat=True, dtype=jnp.bfloat16)
    pixels, mask, ids, words = make_random_inputs()
    params = {"params": make_random_tree(network, FRAMES)}
    video, text = jax.jit(network.apply)(params, pixels, mask, ids, words)
    _, tokens = jax.eval_shape(lambda p: network.apply(p, pixels, method="encode_video"), params)
    assert tokens.x.dtype == jnp.bfloat16
    assert video.shape == text.shape == (2, TOY.embed_dim)
    assert np.isfinite([video, text]).all()
    table = find_shapes(network, FRAMES)
    position = ("mv_adapter", "transformer", "position_embedding")
    assert table["video", "block_1", *position] == (2 * FRAMES + 1, 4)
    assert table["text", "block_0", *position] == (WORDS, 4)


def test_only_biases_of_clip_train_slowly():
    network = make_model(SMALL, Reducer())
    biases = {path for path in list_pretrained_paths(TOY) if path[-1] == "bias"}
    assert {path for path in list_pretrained_paths(TOY) if SMALL.is_trained(path)} == biases
    assert {path for path in find_shapes(network, FRAMES) if SMALL.choose_rate(path) != 1} == biases
    assert {SMALL.choose_rate(path) for path in biases} == {0.02}
    assert not any(MVAdapter(clip_biases=False).is_trained(path) for path in biases)


def test_initial_values():
    """The published initialization; a fresh adapter adds zero."""
    y = jax.random.normal(jax.random.key(1), (1, 1, 4, 512))
    tokens, factor = Tokens(y, jnp.ones((1, 1, 4)), n_cls=1), jnp.zeros(32)

    def draw(tower):
        branch = MVAdapter(words=4).branch("mlp", Site(tower, 0))
        start = jax.jit(branch.init_with_output)
        out, variables = start(jax.random.key(0), y, tokens, {tower: (factor,)})
        np.testing.assert_array_equal(out, y)
        return variables["params"]

    video, text = draw("video"), draw("text")
    bound = 512**-0.5
    assert 0.99 * bound < np.abs(video["down"]["kernel"]).max() <= bound
    assert np.std(text["down"]["kernel"]) == pytest.approx(1024**-0.5, rel=0.03)
    assert 0.16 < np.abs(video["down"]["modulation"]["bias"]).max() <= 32**-0.5
    assert np.std(video["video"]) == pytest.approx(1 / 8, rel=0.3)
    transformer, block = video["transformer"], video["transformer"]["block"]
    assert np.std(transformer["position_embedding"]) == pytest.approx(0.01, rel=0.2)
    assert np.std(block["attn"]["qkv"]["kernel"]) == pytest.approx(bound, rel=0.05)
    for layer in (block["attn"]["out"], block["mlp"]["fc"], block["mlp"]["proj"]):
        assert np.std(layer["kernel"]) == pytest.approx(1024**-0.5, rel=0.05)
    assert not np.any(video["calibration"]["up"]["kernel"])


# Counted independently: options, frames, words, parameters, share of ViT-B/16 in per cent.
COUNTED = [
    ({}, 12, 32, 3_572_736, 2.388),
    ({"tie": "out"}, 12, 32, 3_496_704, 2.337),
    ({"tied": 3}, 12, 32, 3_615_008, 2.416),
    ({}, 32, 64, 3_628_032, 2.425),
    ({"tied": 1}, 32, 64, 3_585_760, 2.397),
]
ALL_OF_B16 = 149_620_737


@pytest.mark.parametrize(("options", "frames", "words", "count", "share"), COUNTED)
def test_parameters_that_train(options, frames, words, count, share):
    adapter = MVAdapter(**options).resolve(frames=frames, words=words, arch=Architecture())
    network = Clip(ARCHITECTURES["ViT-B/16"], adapter, Reducer())
    trainable = costs.count_trainable(network, frames)
    assert trainable == count
    assert round(100 * trainable / ALL_OF_B16, 3) == share


def test_biases_of_clip_are_counted():
    biases = 3_572_736 - 3_401_728  # of the script: with them and without
    table = find_shapes(Clip(ARCHITECTURES["ViT-B/16"], MVAdapter(words=32), Reducer()), 12)
    assert sum(table[path][0] for path in table if is_clip_bias(path)) == biases


@pytest.mark.parametrize(("backbone", "gflops"), [("ViT-B/16", 214.15), ("ViT-B/32", 53.76)])
def test_multiply_accumulates(backbone, gflops):
    network = Clip(ARCHITECTURES[backbone], MVAdapter(), Reducer())
    assert macs.count_macs(network, 12)[1] / 1e9 == pytest.approx(gflops, rel=2e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MVAdapter(tie="down"), "unknown tie: 'down'.*there are: in, out"),
        (lambda: MVAdapter(heads=3), "heads=3 must divide width=64"),
        (lambda: MVAdapter(bias_rate=0), "bias_rate=0 must be a number above 0"),
        (lambda: MVAdapter(tied=4).check((), TOY), r"tied=4 is more than the 2 blocks.*0\.\.2"),
        (
            lambda: jax.eval_shape(
                lambda: Clip(TOY, MVAdapter(words=2), Reducer()).init(
                    jax.random.key(0), *make_random_inputs()
                )
            ),
            "a text of 6 ids needs as many positions, and words=2",
        ),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_biases_start_as_in_pytorch():
    """Those of the MLPs and of the calibration in U(+-1/sqrt(inputs)), all others at zero."""
    adapter = dataclasses.replace(SMALL, width=16, calibration=16)
    network = Clip(TOY, adapter)
    learned = find_shapes(network, FRAMES).keys() - list_pretrained_paths(TOY)
    values = initialise(network, FRAMES, {p for p in learned if p[-1] == "bias"}, seed=0)
    inputs = {
        ("mlp", "fc"): 16, ("mlp", "proj"): 64, ("calibration", "video"): 16,
        ("calibration", "down"): 32, ("down", "modulation"): 5,
    }  # fmt: skip
    seen = set()
    for path, value in values.items():
        if (part := path[-3:-1]) in inputs:
            bound = inputs[part] ** -0.5
            assert 0.5 * bound < np.abs(value).max() <= bound, path
            seen.add(part)
        else:
            assert not value.any(), path
    assert seen == inputs.keys()
