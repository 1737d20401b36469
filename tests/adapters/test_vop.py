"""VoP against slow loops over frames, written from the paper; its published costs."""

import dataclasses
import functools

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_weights import make_random_tree

import tempme_jax
from tempme_jax import costs
from tempme_jax.adapters.vop import PromptGenerator, VoP, average_class_tokens
from tempme_jax.losses import compute_similarity
from tempme_jax.networks import macs
from tempme_jax.networks.architecture import Architecture
from tempme_jax.networks.clip import Clip
from tempme_jax.networks.tokens import Tokens
from tempme_jax.parameters import find_shapes, join, list_pretrained_paths, split
from tempme_jax.reducers.base import Reducer
from tempme_jax.reducers.joined import Joined
from tempme_jax.reducers.schedule import make_schedule
from tempme_jax.reducers.tempme import TempMe
from tempme_jax.reducers.testa import TESTA
from tempme_jax.reducers.tome import ToMe

TOY = Architecture(
    embed_dim=6, image_size=16, patch=8, width=8, depth=3, heads=2,
    text_width=6, text_depth=2, text_heads=2, vocab_size=30, context_length=16,
)  # fmt: skip
FRAMES = 4
# Of the last, the second half is missing: under TempMe a whole clip.
MASK = np.array([[1, 1, 1, 1], [1, 0, 1, 0], [1, 1, 0, 0]], bool)
BESIDE = {
    "none": Reducer(),
    "joined": Joined(layer=2),
    # Pairs of frames become one clip, all of whose tokens stay.
    "pairs": TempMe(
        r=0, layers=(1,), groups=(2,), keep_cross=1.0, keep_intra=1.0, clip_positions=False
    ),
}
TOYS = {
    "C": (VoP(generic=2, contextual=3, text=2), "none"),
    "F+C": (VoP(generic=2, contextual=3, video=4, split=2, text=2), "joined"),
    "P and C beside TempMe": (VoP(generic=0, positional=1, contextual=2, text=0), "pairs"),
}


def compute_sigmoid(x):
    return 1 / (1 + np.exp(-x))


def apply_norm(p, x):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * p["scale"] + p["bias"]


def apply_linear(p, x):
    return x @ p["kernel"].T + p["bias"]


def apply_block_slowly(p, x, heads, *, causal=False):
    """A block on one sequence [n, d], in which a prompt is a token as any other."""
    n, d = x.shape
    q, k, v = np.split(apply_linear(p["attn"]["qkv"], apply_norm(p["ln_1"], x)), 3, axis=1)
    y, c = np.zeros_like(x), d // heads
    for head in range(heads):
        at = slice(head * c, (head + 1) * c)
        for i in range(n):
            logits = k[: i + 1 if causal else n, at] @ q[i, at] / np.sqrt(c)
            weight = np.exp(logits - logits.max())
            y[i, at] = weight / weight.sum() @ v[: len(weight), at]
    x = x + apply_linear(p["attn"]["out"], y)
    y = apply_linear(p["mlp"]["fc"], apply_norm(p["ln_2"], x))
    return x + apply_linear(p["mlp"]["proj"], y * compute_sigmoid(1.702 * y))


def run_lstm_slowly(p, rows):
    """PyTorch's equations: the outputs for `rows`, one after the other."""
    hidden = cell = np.zeros_like(rows[0])
    outputs = []
    for row in rows:
        gates = p["weight_ih"] @ row + p["bias_ih"] + p["weight_hh"] @ hidden + p["bias_hh"]
        i, f, g, o = np.split(gates, 4)
        cell = compute_sigmoid(f) * cell + compute_sigmoid(i) * np.tanh(g)
        hidden = compute_sigmoid(o) * np.tanh(cell)
        outputs.append(hidden)
    return outputs


def generate_slowly(p, rows):
    """Contextual prompts [m, d] for each of `rows`."""
    past = run_lstm_slowly(p["forward"], rows)
    future = run_lstm_slowly(p["backward"], rows[::-1])[::-1]
    both = [np.concatenate(pair) for pair in zip(past, future, strict=True)]
    return [(h @ p["out"]["kernel"] + p["out"]["bias"]).reshape(-1, h.size // 2) for h in both]


def embed_frame_slowly(video, frame):
    """The tokens of a frame [16, 16, 3], class token first, before the first layer norm."""
    pieces = [frame[i : i + 8, j : j + 8].ravel() for i in (0, 8) for j in (0, 8)]
    rows = [video["class_embedding"], *(video["patches"]["kernel"] @ piece for piece in pieces)]
    return np.array(rows) + video["position_embedding"]


def make_prompts_slowly(prompts, layer, clips, frames, *, alone):
    """The prompts [m, d] of each clip; a clip is a list of those of its frames that are real."""
    rows = [[] for _ in clips]
    if alone and "generator" in prompts:
        means = [np.mean([frames[f][0] for f in network], axis=0) for network in clips.values()]
        for row, made in zip(rows, generate_slowly(prompts["generator"], means), strict=True):
            row.append(made)
    for row, index in zip(rows, clips, strict=True):
        if alone and f"positional_{layer}" in prompts:
            row.append(prompts[f"positional_{layer}"][index])
        if f"block_{layer}" in prompts:
            row.append(prompts[f"block_{layer}"])
    return [np.concatenate(row) for row in rows]


def encode_video_slowly(params, adapter, beside, frames, real):
    """A video [f, 16, 16, 3] whose missing frames are not there at all."""
    video = params["video"]
    x = {
        f: apply_norm(video["ln_pre"], embed_frame_slowly(video, frames[f]))
        for f in np.flatnonzero(real)
    }
    size = 1
    for layer in range(TOY.depth):
        alone = not (adapter.video and layer >= adapter.split)
        if beside == "joined" and layer == 2:
            size = FRAMES
            position = video[f"block_{layer}"]["join_frames"]["frame_position"]
            x = {f: a + position[f] for f, a in x.items()}
        size = 2 if beside == "pairs" and layer == 1 else size
        clips = {}
        for f in x:
            clips.setdefault(f // size, []).append(f)
        prompts = make_prompts_slowly(video["prompts"], layer, clips, x, alone=alone)
        for network, own in zip(clips.values(), prompts, strict=True):
            own = apply_norm(video["ln_pre"], own) if layer == 0 else own
            classes, patches = [x[f][:1] for f in network], [x[f][1:] for f in network]
            out = np.concatenate([*classes, own, *patches])
            out = apply_block_slowly(video[f"block_{layer}"], out, TOY.heads)
            patches = np.split(out[len(network) + len(own) :], len(network))
            for i, f in enumerate(network):
                x[f] = np.concatenate([out[i : i + 1], patches[i]])
    vectors = [apply_norm(video["ln_post"], a[0]) @ video["projection"] for a in x.values()]
    return np.mean([v / np.linalg.norm(v) for v in vectors], axis=0)


def text_slowly(params, ids, count):
    """A text whose words stand `count` positions further on."""
    text = params["text"]
    x = text["token_embedding"][ids]
    for layer in range(TOY.text_depth):
        words = x[1:] if layer == 0 else x[1 + count :]
        x = np.concatenate([x[:1], text["prompts"][f"block_{layer}"], words])
        if layer == 0:
            x = x + text["position_embedding"][: len(x)]
        x = apply_block_slowly(text[f"block_{layer}"], x, TOY.text_heads, causal=True)
    return apply_norm(text["ln_final"], x[ids.argmax() + count]) @ text["projection"]


@functools.cache
def make_model(name):
    adapter, beside = TOYS[name]
    network = Clip(TOY, adapter, BESIDE[beside].resolve(patches=4, frames=FRAMES, depth=TOY.depth))
    return network, make_random_tree(network, FRAMES)


def make_random_pixels():
    rng = np.random.default_rng(1)
    return rng.standard_normal((len(MASK), FRAMES, 16, 16, 3)).astype(np.float32)


@pytest.mark.parametrize("name", TOYS)
def test_videos_agree_with_a_slow_loop_that_knows_no_padding(name):
    network, params = make_model(name)
    pixels = make_random_pixels()
    encode = jax.jit(functools.partial(network.apply, method="encode_video"))
    ours, _ = encode({"params": params}, pixels, MASK)
    exact = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
    for vector, frames, real in zip(ours, pixels, MASK, strict=True):
        slow = encode_video_slowly(exact, network.adapter, TOYS[name][1], frames, real)
        np.testing.assert_allclose(vector, slow, atol=1e-5)


def test_texts_agree_with_a_slow_loop():
    network, params = make_model("C")
    ids = np.array([[28, 5, 6, 29, 0], [28, 7, 29, 0, 0]], np.int32)
    ours = jax.jit(functools.partial(network.apply, method="encode_text"))({"params": params}, ids)
    exact = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
    for vector, row in zip(ours, ids, strict=True):
        np.testing.assert_allclose(vector, text_slowly(exact, row, 2), atol=1e-5)


def test_words_have_the_positions_that_prompts_leave():
    """Of 16 positions 9."""
    network = Clip(TOY, VoP(text=7), Reducer())
    encode = functools.partial(network.init, jax.random.key(0), method="encode_text")
    jax.eval_shape(lambda: encode(jnp.zeros((1, 9), jnp.int32)))
    with pytest.raises(ValueError, match="at most 9 ids"):
        jax.eval_shape(lambda: encode(jnp.zeros((1, 10), jnp.int32)))


def test_an_lstm_by_hand():
    """Width 1: the input gate sees the row, the candidate is tanh 1, what is output is tanh."""
    generator = PromptGenerator(1)
    x, real = jnp.array([[[1.0], [9.0], [2.0]]]), jnp.array([[True, False, True]])
    direction = {
        "weight_ih": jnp.array([[1.0], [0.0], [0.0], [0.0]]),
        "weight_hh": jnp.zeros((4, 1)),
        "bias_ih": jnp.array([0.0, 40.0, 1.0, 0.0]),
        "bias_hh": jnp.array([0.0, 0.0, 0.0, 40.0]),
    }
    out = {"kernel": jnp.array([[1.0], [10.0]]), "bias": jnp.array([100.0])}
    params = {"forward": direction, "backward": direction, "out": out}
    made = generator.apply({"params": params}, x, real)[0, :, 0, 0]
    one, two = compute_sigmoid(1) * np.tanh(1), compute_sigmoid(2) * np.tanh(1)
    np.testing.assert_allclose(made[0], 100 + np.tanh(one) + 10 * np.tanh(one + two), rtol=1e-6)
    np.testing.assert_allclose(made[2], 100 + np.tanh(one + two) + 10 * np.tanh(two), rtol=1e-6)


def test_the_generator_starts_as_in_pytorch():
    x, real = jnp.zeros((1, 2, 64)), jnp.ones((1, 2), bool)
    params = PromptGenerator(2).init(jax.random.key(0), x, real)["params"]
    flat = flax.traverse_util.flatten_dict(params)
    assert sum(a.size for a in flat.values()) == 2 * 4 * (2 * 64 * 64 + 2 * 64) + 128 * 128 + 128
    for path, array in flat.items():
        bound = 128**-0.5 if path[0] == "out" else 1 / 8
        assert 0.9 * bound < np.abs(array).max() <= bound, path
        assert abs(array.mean()) < 0.3 * bound, path


def test_class_tokens_of_clips_by_hand():
    """Two clips of two class tokens; what is padding is in no mean."""
    x = jnp.array([[[1.0], [3.0], [0.0]], [[5.0], [9.0], [0.0]]])[None]
    size = jnp.array([[1.0, 2.0, 4.0], [1.0, 0.0, 4.0]])[None]
    for clips, expected in ((2, [2, 5]), (1, [3])):
        mean, real = average_class_tokens(Tokens(x, size, n_cls=2), clips)
        np.testing.assert_array_equal(mean[0, :, 0], expected)
        assert real.all()
    mean, real = average_class_tokens(Tokens(x, jnp.zeros_like(size), n_cls=2), 2)
    assert not real.any() and np.isfinite(mean).all()


def test_half_precision_stays():
    x, real = jnp.ones((1, 2, 4), jnp.bfloat16), jnp.ones((1, 2), bool)
    made, _ = jax.eval_shape(
        lambda: PromptGenerator(3, jnp.bfloat16).init_with_output(jax.random.key(0), x, real)
    )
    assert made.dtype == jnp.bfloat16 and made.shape == (1, 2, 3, 4)


def test_gradients_reach_what_trains():
    network, params = make_model("F+C")
    trainable, frozen = split(network, params)
    names = {path[-2] if path[-1] in ("kernel", "bias") else path[-1]
             for path in flax.traverse_util.flatten_dict(trainable)}  # fmt: skip
    assert names == {
        "block_0", "block_1", "block_2", "frame_position", "out",
        "weight_ih", "weight_hh", "bias_ih", "bias_hh",
    }  # fmt: skip
    ids = jnp.array([[28, 5, 6, 29, 0]] * len(MASK), jnp.int32)

    def loss(trainable):
        tree = {"params": join(trainable, frozen)}
        video, text = network.apply(
            tree, jnp.asarray(make_random_pixels()), jnp.asarray(MASK), ids, None
        )
        return (video * text).sum()

    gradients = flax.traverse_util.flatten_dict(jax.jit(jax.grad(loss))(trainable))
    for path, gradient in gradients.items():
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0, path
        assert network.adapter.choose_rate(path) == (0.1 if "generator" in path else 1)


@pytest.mark.parametrize("beside", [ToMe(r=0), TempMe(r=0), TESTA(r=0, r_patch=0)])
def test_shapes_beside_others(beside):
    """Prompts of frames before clips join or frames merge, prompts of videos from there on."""
    beside = beside.resolve(patches=4, frames=FRAMES, depth=TOY.depth)
    first = beside.layers[0] if isinstance(beside, TempMe | TESTA) else 2
    adapter = VoP(generic=1, positional=1, contextual=1, video=2, split=first)
    stages = make_schedule(beside, frames=FRAMES, tokens=5, depth=TOY.depth)
    adapter.check(stages, TOY)
    pixels = jnp.zeros((2, FRAMES, 16, 16, 3))
    (_, tokens), _ = jax.eval_shape(
        lambda: Clip(TOY, adapter, beside).init_with_output(
            jax.random.key(0), pixels, trace=True, method="encode_video"
        )
    )
    assert tokens.x.shape == (2, stages[-1].clips, stages[-1].out, 8)
    assert tokens.source.shape == (2, FRAMES * 4)


def test_frames_join_once():
    reducer = Joined().resolve(patches=49, frames=12, depth=12)
    stages = make_schedule(reducer, frames=12, tokens=50, depth=12)
    assert [(s.clips, s.n_cls, s.attention, s.out) for s in stages] == (
        [(12, 1, 50, 50)] * 8 + [(1, 12, 600, 600)] * 4
    )
    assert not any(reducer.is_proportional(layer) for layer in range(12))
    assert Joined().resolve(patches=256, frames=12, depth=24).layer == 16


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: VoP(generic=-1), "generic=-1 must be a whole number of 0 or more"),
        (lambda: VoP(split=8), "video=0 means that there are none; set video=8"),
        (lambda: Joined(layer=-1), "layer=-1 must be a whole number of 0 or more"),
        (lambda: Joined(layer=12).check(12), "layer=12 must be a whole number from 0 to 11"),
        (
            lambda: check(VoP(contextual=4, video=8, split=8), Joined(layer=6)),
            "split=8, but block 6 is the first that joins frames.*set split=6",
        ),
        (
            lambda: check(VoP(contextual=4), TESTA()),
            "block 8 works on 11 of 12 frames.*4 own prompts.*set video=8 and split=8 or less",
        ),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def check(adapter, reducer):
    reducer = reducer.resolve(patches=49, frames=12, depth=12)
    adapter.check(make_schedule(reducer, frames=12, tokens=50, depth=12), Architecture())


FRAME_PROMPTS = {
    "VoP": VoP(),
    "VoP^P": VoP(generic=4, positional=4),
    "VoP^C": VoP(generic=4, contextual=4),
    "VoP^F": VoP(video=8),
    "VoP^F+P": VoP(generic=4, positional=4, video=8),
    "VoP^F+C": VoP(generic=4, contextual=4, video=8),
}
# Counted from the paper's table (docs/methods/vop.md).
TRAINED = {
    "VoP": 122_880,
    "VoP^P": 528_384,
    "VoP^C": 14_257_152,
    "VoP^F": 122_880,
    "VoP^F+P": 393_216,
    "VoP^F+C": 14_269_440,
}


def make_published_network(adapter, *, patch=32, joined, positions=False):
    arch = Architecture(patch=patch)
    adapter = adapter.resolve(frames=12, words=32, arch=arch)
    reducer = Joined(positions=positions) if joined else Reducer()
    return Clip(arch, adapter, reducer.resolve(patches=arch.patches, frames=12, depth=12))


@pytest.mark.parametrize("variant", TRAINED)
def test_parameters_that_train(variant):
    network = make_published_network(FRAME_PROMPTS[variant], joined="F" in variant)
    assert costs.count_trainable(network, 12) == TRAINED[variant]


def test_parameters_of_frame_positions():
    network = make_published_network(FRAME_PROMPTS["VoP^F+C"], joined=True, positions=True)
    learned = {
        p: s
        for p, s in find_shapes(network, 12).items()
        if p not in list_pretrained_paths(network.arch)
    }
    assert learned["video", "block_8", "join_frames", "frame_position"] == (12, 768)
    assert costs.count_trainable(network, 12) == 14_278_656


@pytest.mark.parametrize(
    ("generic", "video", "patch", "gflops", "tokens"),
    [
        (0, 4, 32, 58.02, 604),
        (0, 4, 16, 246.26, 2368),
        (4, 8, 32, 60.95, 608),
        (4, 8, 16, 249.46, 2372),
    ],
)
def test_cost_of_a_video(generic, video, patch, gflops, tokens):
    """The first two are TempMe's row, which has half of VoP's prompts."""
    network = make_published_network(
        VoP(generic, contextual=4, video=video), patch=patch, joined=True
    )
    mac, counted = macs.count_macs(network, 12)
    assert counted / 1e9 == pytest.approx(gflops, rel=2e-3)
    assert costs.count_output_tokens(network, macs.list_stages(network, 12)) == tokens
    # 8 blocks make prompts of 12 frames: the LSTM's gates, the layer behind, keys and values.
    rows = 3 * (generic + 4)
    made = 8 * 12 * (16 + 2 * 4 + rows) * 768**2 + 4 * 3 * video * 768**2
    without = macs.count_macs(make_published_network(VoP(0), patch=patch, joined=True), 12)[0]
    seen = 8 * 12 * (1 + network.arch.patches) * (generic + 4)
    seen = seen + 4 * 12 * (1 + network.arch.patches) * video
    assert mac == without + made + 2 * 768 * seen


def test_a_plain_mean_keeps_its_length():
    """In the loss and in the similarities of a model, and it changes ranks of videos."""
    steady, mixed = jnp.array([1.0, 0.0]), jnp.array([0.6, 0.1])
    text, videos, scale = jnp.array([[2.0, 0.2]]), jnp.stack([steady, mixed]), jnp.ones(())
    found = [
        compute_similarity(text, videos, scale, unit_videos=adapter.unit_videos)[0]
        for adapter in (VoP(), VoP(unit_mean=False))
    ]
    assert [int(row.argmax()) for row in found] == [1, 0]
    model = tempme_jax.create(
        width=8, heads=2, depth=1, text_width=8, text_heads=2, text_depth=1, image_size=16, patch=8,
        embed_dim=4, vocab_size=30, context_length=16, num_frames=2, max_words=6, method="vop",
        method_options={"unit_mean": False},
    )  # fmt: skip
    frames = np.random.default_rng(0).integers(0, 256, (1, 2, 16, 16, 3)).astype(np.uint8)
    vector = model.embed_video(frames)
    assert np.linalg.norm(vector) < 0.9999
    text = model.embed_tokens(np.array([[28, 3, 29]], np.int32))
    expected = np.exp(model.params["logit_scale"]) * text @ vector.T
    np.testing.assert_allclose(model.similarity(text, vector), expected, rtol=1e-5)
    unit = dataclasses.replace(
        model,
        network=model.network.copy(adapter=dataclasses.replace(model.adapter, unit_mean=True)),
    )
    np.testing.assert_allclose(np.linalg.norm(unit.embed_video(frames)), 1, rtol=1e-6)
