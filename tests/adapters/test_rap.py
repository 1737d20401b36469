"""RAP's reconstruction against slow loops; what trains; what it costs."""

import itertools

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_weights import make_random_tree

from tempme_jax import costs
from tempme_jax.adapters.base import Site
from tempme_jax.adapters.rap import RAP, LowRank, WarpedAttention, sample_patches, select_patches
from tempme_jax.networks import macs
from tempme_jax.networks.architecture import ARCHITECTURES, Architecture
from tempme_jax.networks.clip import Clip
from tempme_jax.networks.tokens import Tokens
from tempme_jax.parameters import find_shapes, join, split
from tempme_jax.reducers.base import Reducer
from tempme_jax.reducers.tempme import TempMe
from tempme_jax.reducers.tome import ToMe

TOY = Architecture(
    embed_dim=6, image_size=24, patch=8, width=12, depth=2, heads=2,
    text_width=8, text_depth=1, text_heads=2, vocab_size=30, context_length=16,
)  # fmt: skip
FRAMES, WORDS = 4, 7
SMALL = RAP(rank=2, width=4, heads=2, top=2, reach=1.5, words=WORDS)
SIDE = 3


def apply_linear(x, p):
    return x @ p["kernel"] + p["bias"]


def sample_slowly(grid, real, place):
    """Trilinear in a grid [t, rows, columns, m]; frames that are none have no weight."""
    upper = [max(i for i, r in enumerate(real) if r), SIDE - 1, SIDE - 1]
    place = [min(max(x, 0), most) for x, most in zip(place, upper, strict=True)]
    total, weights = 0, 0
    for corner in itertools.product(range(len(grid)), range(SIDE), range(SIDE)):
        near = [max(0, 1 - abs(x - c)) for x, c in zip(place, corner, strict=True)]
        weight = np.prod(near) * real[corner[0]]
        total, weights = total + weight * grid[corner], weights + weight
    return total / weights


def attend_slowly(x, real, p, options):
    """Apply ASA to one video, [t, 1 + 9, d], and project the whole grid first."""
    t = len(x)
    video = np.mean([x[f, 0] for f in range(t) if real[f]], axis=0)
    grid = np.array([[apply_linear(patch, p["down"]) for patch in x[f, 1:]] for f in range(t)])
    grid = grid.reshape(t, SIDE, SIDE, -1)
    chosen = []
    for f in range(t):
        score = [patch @ video / np.linalg.norm(patch) for patch in x[f, 1:]]
        chosen += [(f, i) for i in np.argsort(score)[::-1][: options.top] if real[f]]
    selected, warped = [], []
    for f, i in chosen:
        row, column = divmod(int(i), SIDE)
        z = grid[f, row, column]
        offset = options.reach * np.tanh(apply_linear(z, p["offset"]))
        selected.append(z)
        warped.append(sample_slowly(grid, real, np.array([f, row, column]) + offset))
    width = options.width // options.heads
    out = x.copy()
    for z, (f, i) in zip(selected, chosen, strict=True):
        taken = []
        for head in range(options.heads):
            of = slice(head * width, (head + 1) * width)
            q = apply_linear(z, p["query"])[of]
            logits = np.array([q @ apply_linear(w, p["key"])[of] for w in warped]) / np.sqrt(width)
            weight = np.exp(logits) / np.exp(logits).sum()
            values = [apply_linear(w, p["value"])[of] for w in warped]
            taken.append(sum(a * v for a, v in zip(weight, values, strict=True)))
        out[f, 1 + i] += apply_linear(np.concatenate(taken), p["up"])
    return out


def test_attention_agrees_with_a_slow_loop():
    """In the second video a frame is none; what it holds changes nothing."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3, 1 + SIDE**2, 8)).astype(np.float32)
    real = np.array([[1, 1, 1], [1, 1, 0]])
    size = np.broadcast_to(real[:, :, None], x.shape[:3]).astype(np.float32)
    tokens = Tokens(jnp.zeros_like(x), jnp.asarray(size))
    module = WarpedAttention(SMALL)
    shape = jax.eval_shape(lambda: module.init(jax.random.key(0), jnp.asarray(x), tokens))
    draw = lambda a: jnp.asarray(0.5 * rng.standard_normal(a.shape), jnp.float32)  # noqa: E731
    variables = jax.tree.map(draw, shape)
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), variables["params"])
    apply = jax.jit(module.apply)
    ours = apply(variables, jnp.asarray(x), tokens)
    for video in range(2):
        slow = attend_slowly(np.float64(x[video]), real[video], p, SMALL)
        of_frames = real[video] > 0
        np.testing.assert_allclose(ours[video][of_frames], slow[of_frames], atol=1e-5)
    garbage = np.where(size[..., None] > 0, x, 50 * rng.standard_normal(x.shape))
    again = apply(variables, jnp.asarray(garbage, jnp.float32), tokens)
    np.testing.assert_array_equal(np.asarray(again)[size > 0], np.asarray(ours)[size > 0])


def test_samples_by_hand():
    """Patches hold 100 frame + 10 row + column; the third frame is none and holds garbage."""
    frame, row, column = np.ogrid[:3, :2, :2]
    patches = (100 * frame + 10 * row + column).reshape(1, 3, 4, 1).astype(np.float32)
    patches[0, 2] = 1e6
    wanted = {
        (0, 1, 0): 10,
        (0.5, 0, 0): 50,
        (0.25, 0.5, 0.75): 25 + 5 + 0.75,
        (-1, -2, 5): 1,
        (1.5, 0, 0): 100,
        (9, 1, 1): 111,
    }
    found = sample_patches(
        jnp.asarray(patches),
        jnp.array([list(wanted)], jnp.float32),
        jnp.array([[True, True, False]]),
    )
    np.testing.assert_allclose(found[0, :, 0], list(wanted.values()), rtol=1e-6)


def test_offsets_have_a_gradient_where_they_start():
    patches = jnp.arange(8.0).reshape(1, 2, 4, 1)
    gradient = jax.grad(lambda place: sample_patches(patches, place, jnp.ones((1, 2), bool)).sum())
    np.testing.assert_allclose(gradient(jnp.zeros((1, 1, 3)))[0, 0], [2, 1, 0.5])


def test_selection_by_hand():
    """The best by direction, not by length; class tokens of frames that are none say nothing."""
    x = jnp.array([[[[1.0, 0], [9, 9], [2, 0], [0, 5]], [[0, 9], [0, 1], [1, 0], [1, 1]]]])
    real = jnp.array([[True, False]])
    np.testing.assert_array_equal(select_patches(x, real, 2), [[[1, 0], [1, 2]]])


@pytest.mark.parametrize("words", [None, 5])
def test_calibration_is_of_low_rank_along_time(words):
    """Rows are clips, or the first words of those that there are rows for."""
    rng = np.random.default_rng(0)
    b, t, n, d = 2, 3, 4, 6
    rows, index = (t, 1) if words is None else (words, 2)
    y = rng.standard_normal((b, t, n, d)).astype(np.float32)
    sizes = {"a": (rows, 2), "b": (2, d)}
    p = {f"{k}_{ab}": rng.standard_normal(sizes[ab]) for k in ("scale", "shift") for ab in "ab"}
    variables = {"params": {name: jnp.asarray(a, jnp.float32) for name, a in p.items()}}
    ours = LowRank(2, words).apply(variables, jnp.asarray(y), None, None)
    for place in itertools.product(range(b), range(t), range(n)):
        at = place[index]
        scale, shift = p["scale_a"][at] @ p["scale_b"], p["shift_a"][at] @ p["shift_b"]
        np.testing.assert_allclose(ours[place], y[place] * (1 + scale) + shift, atol=1e-5)


def test_fresh_it_changes_nothing():
    y = jax.random.normal(jax.random.key(1), (1, 2, 10, 12))
    tokens = Tokens(y, jnp.ones((1, 2, 10)))
    low_rank = SMALL.branch("mlp", Site("video", 0))
    out, variables = low_rank.init_with_output(jax.random.key(0), y, tokens, None)
    np.testing.assert_array_equal(out, y)
    assert 0.005 < np.std(variables["params"]["scale_a"]) < 0.05
    start = jax.jit(WarpedAttention(SMALL).init_with_output)
    out, variables = start(jax.random.key(0), y, tokens)
    np.testing.assert_array_equal(out, y)
    assert not any(np.any(a) for a in variables["params"]["offset"].values())


def make_model(adapter, reducer, dtype=None):
    reducer = reducer.resolve(patches=TOY.patches, frames=FRAMES, depth=TOY.depth)
    return Clip(TOY, adapter, reducer, dtype)


def make_random_inputs():
    rng = np.random.default_rng(0)
    pixels = jnp.asarray(rng.standard_normal((2, FRAMES, 24, 24, 3)), jnp.float32)
    ids = jnp.asarray(rng.integers(1, 28, (2, 6)), jnp.int32).at[:, 4].set(29)
    mask = jnp.array([[True] * FRAMES, [True] * 3 + [False]])
    return pixels, mask, ids, jnp.arange(6)[None] < jnp.array([[6], [5]])


def test_gradients_reach_all_that_trains():
    network = make_model(SMALL, Reducer())
    trainable, frozen = split(network, make_random_tree(network, FRAMES))

    def loss(trainable):
        video, text = network.apply({"params": join(trainable, frozen)}, *make_random_inputs())
        return (video * text).sum()

    gradients = flax.traverse_util.flatten_dict(jax.jit(jax.grad(loss))(trainable))
    assert all(np.isfinite(g).all() for g in gradients.values())
    untouched = {path for path, g in gradients.items() if not np.abs(g).max() > 1e-7}
    # The patches of the last block are not read, and softmax does not see what all keys have.
    unread = {path for path in gradients if path[1:3] == ("block_1", "asa")}
    assert untouched == unread | {("video", "block_0", "asa", "key", "bias")}


@pytest.mark.parametrize("reducer", [ToMe(r=2), TempMe(r=1, layers=(1,), groups=(2,))])
def test_without_warping_it_combines_with_reducers(reducer):
    adapter = RAP(rank=2, asa=False, words=WORDS)
    network = make_model(adapter, reducer)
    adapter.check(macs.list_stages(network, FRAMES), TOY)
    video, text = jax.jit(network.apply)(
        {"params": make_random_tree(network, FRAMES)}, *make_random_inputs()
    )
    assert video.shape == text.shape == (2, TOY.embed_dim)
    assert np.isfinite(video).all() and np.isfinite(text).all()
    table = find_shapes(network, FRAMES)
    clips = 2 if isinstance(reducer, TempMe) else FRAMES
    assert table["video", "block_1", "lorm_mlp", "scale_a"] == (clips, 2)
    assert table["text", "block_0", "lorm_attn", "shift_a"] == (WORDS, 2)


@jax.numpy_dtype_promotion("standard")  # Flax's layer norm and bfloat16 need it
def test_half_precision_stays():
    network = make_model(SMALL, Reducer(), jnp.bfloat16)
    tree = jax.eval_shape(lambda: make_random_tree(network, FRAMES))
    inputs = make_random_inputs()[:2]
    _, tokens = jax.eval_shape(
        lambda tree: network.apply({"params": tree}, *inputs, method="encode_video"), tree
    )
    assert tokens.x.dtype == jnp.bfloat16


def test_costs_are_those_of_the_methods_page():
    """Counted independently: 1,064,340 parameters; 211.57 and 53.19 GFLOPs."""
    adapter = RAP().resolve(frames=12, words=32, arch=Architecture())
    for backbone, gflops in (("ViT-B/16", 211.57), ("ViT-B/32", 53.19)):
        network = Clip(ARCHITECTURES[backbone], adapter, Reducer())
        assert macs.count_macs(network, 12)[1] / 1e9 == pytest.approx(gflops, rel=2e-3)
    assert costs.count_trainable(network, 12) == 1_064_340
    light = costs.count_trainable(network.copy(adapter=RAP(asa=False, words=32)), 12)
    assert light == 299_520 + 208_896


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: RAP(heads=3), "heads=3 must divide width=28"),
        (lambda: RAP(reach=-1), "reach=-1 must be a number of 0 or more"),
        (
            lambda: RAP().check(macs.list_stages(make_model(RAP(), ToMe(r=1)), FRAMES), TOY),
            "asa=True warps the grid of 9 patches.*block 0.*asa=False, which combines",
        ),
        (
            lambda: LowRank(2, 3).init(jax.random.key(0), jnp.ones((1, 1, 4, 2)), None, None),
            "a text of 4 ids needs as many rows, and words=3",
        ),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
