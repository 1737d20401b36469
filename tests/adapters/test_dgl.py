"""DGL against slow loops over blocks, frames and heads (docs/methods/dgl.md); its costs."""

import functools

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_weights import make_random_tree

from tempme_jax import costs
from tempme_jax.adapters.dgl import DGL, DGLTransformer
from tempme_jax.networks import macs
from tempme_jax.networks.architecture import ARCHITECTURES, Architecture
from tempme_jax.networks.clip import Clip
from tempme_jax.parameters import find_shapes, initialise, join, list_pretrained_paths, split
from tempme_jax.reducers.base import Reducer
from tempme_jax.reducers.schedule import make_schedule
from tempme_jax.reducers.tempme import TempMe
from tempme_jax.reducers.tome import ToMe

TOY = Architecture(
    embed_dim=8, image_size=16, patch=8, width=16, depth=3, heads=2,
    text_width=12, text_depth=2, text_heads=2, vocab_size=30, context_length=12,
)  # fmt: skip
FRAMES = 4
MASK = np.array([[True, True, False, True], [True, True, True, True]])
IDS = np.array([[28, 5, 6, 29, 0, 0], [28, 7, 8, 9, 4, 29]], np.int32)
LINEAR = Clip(TOY, DGL(frame_prompts=3, video_prompts=2), Reducer())
PIXELS = np.random.default_rng(1).standard_normal((2, FRAMES, 16, 16, 3)).astype(np.float32)


@functools.cache
def make_toy():
    params = make_random_tree(LINEAR, FRAMES)
    return params, jax.jit(lambda *inputs: LINEAR.apply({"params": params}, *inputs))


def convert_to_float64(tree):
    return jax.tree.map(lambda a: np.asarray(a, np.float64), tree)


def apply_norm(p, x):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * p["scale"] + p["bias"]


def apply_linear(p, x):
    return x @ p["kernel"].T + p["bias"]


def attend(p, x, seen, heads, visible=None):
    """What each row of x takes in of the rows that are seen: one head, one row at a time."""
    d = x.shape[1]
    q = apply_linear(p["qkv"], x)[:, :d]
    k, v = np.split(apply_linear(p["qkv"], seen)[:, d:], 2, axis=1)
    y, c = np.zeros_like(x), d // heads
    for part in (slice(h * c, (h + 1) * c) for h in range(heads)):
        for i in range(len(x)):
            keys = slice(None) if visible is None else visible[i]
            weight = np.exp(k[keys, part] @ q[i, part] / np.sqrt(c))
            y[i, part] = weight @ v[keys, part] / weight.sum()
    return apply_linear(p["out"], y)


def apply_mlp(block, x):
    y = apply_linear(block["mlp"]["fc"], apply_norm(block["ln_2"], x))
    return x + apply_linear(block["mlp"]["proj"], y / (1 + np.exp(-1.702 * y)))


def encode_video_slowly(params, frames):
    """One video, real frames only: [f, 16, 16, 3] -> [8] (docs/methods/dgl.md, Video)."""
    p, prompts = params["video"], params["shared"]["visual_prompt"]
    x = frames.reshape(len(frames), 2, 8, 2, 8, 3).swapaxes(2, 3).reshape(len(frames), 4, -1)
    x = x @ p["patches"]["kernel"].T
    x = [np.concatenate([p["class_embedding"][None], of_frame]) for of_frame in x]
    x = [apply_norm(p["ln_pre"], of_frame + p["position_embedding"]) for of_frame in x]
    g = p["summary"]["global_prompt"]
    for layer in range(TOY.depth):
        block, local = p[f"block_{layer}"], prompts[:, layer]
        # [class, local prompts, patches]: overwritten in every block
        x = [np.concatenate([of_frame[:1], local, of_frame[-4:]]) for of_frame in x]
        g_, x_ = (
            apply_norm(block["ln_1"], g),
            [apply_norm(block["ln_1"], of_frame) for of_frame in x],
        )
        for f in range(len(x)):
            x[f] = x[f] + attend(block["attn"], x_[f], np.concatenate([g_, x_[f]]), TOY.heads)
        g = g + attend(block["attn"], g_, np.concatenate([g_, *x_]), TOY.heads)
        x, g = [apply_mlp(block, of_frame) for of_frame in x], apply_mlp(block, g)
    y = apply_norm(p["ln_post"], g[0]) @ p["projection"]
    return y / np.linalg.norm(y)


def encode_text_slowly(params, ids):
    """[n] -> [8], with the prompts after the text in the sequence (docs/methods/dgl.md, Text)."""
    p, shared = params["text"], params["shared"]
    words = p["token_embedding"][ids] + p["position_embedding"][: len(ids)]
    m = len(shared["visual_prompt"])
    for layer in range(TOY.text_depth):
        block, local = p[f"block_{layer}"], shared["visual_prompt"][:, layer]
        before, behind = (
            local @ shared[name]["kernel"] + shared[name]["bias"]
            for name in ("prefix_proj", "postfix_proj")
        )
        x = np.concatenate([words[:1], before, words[1:], behind])
        causal = np.tril(np.ones((len(x), len(x)), bool))
        x_ = apply_norm(block["ln_1"], x)
        x = apply_mlp(block, x + attend(block["attn"], x_, x_, TOY.text_heads, causal))
        words = np.concatenate([x[:1], x[1 + m : m + len(ids)]])
    return apply_norm(p["ln_final"], words[ids.argmax()]) @ p["projection"]


def test_agrees_with_the_slow_loops():
    """A masked frame is as one that is not there."""
    params, encode = make_toy()
    video, text = encode(PIXELS, MASK, IDS, IDS > 0)
    slow = convert_to_float64(params)
    expected = [
        encode_video_slowly(slow, frames[m]) for frames, m in zip(PIXELS, MASK, strict=True)
    ]
    np.testing.assert_allclose(video, expected, atol=1e-5)
    expected = [encode_text_slowly(slow, ids) for ids in IDS]
    np.testing.assert_allclose(text, expected, rtol=1e-5, atol=1e-5)


def test_masked_frames_change_nothing():
    _, encode = make_toy()
    pixels = PIXELS.copy()
    pixels[~MASK] = 1e3
    video, _ = encode(PIXELS, MASK, IDS, IDS > 0)
    np.testing.assert_array_equal(encode(pixels, MASK, IDS, IDS > 0)[0], video)


def test_gradients_and_the_dead_half():
    """All that is learned trains, but what makes the prompts behind the end of the text."""
    trainable, frozen = split(LINEAR, make_toy()[0])

    def loss(trainable, *inputs):
        video, text = LINEAR.apply({"params": join(trainable, frozen)}, *inputs)
        return (video * text).sum()

    gradients = jax.jit(jax.grad(loss))(trainable, PIXELS, MASK, IDS, IDS > 0)
    gradients = flax.traverse_util.flatten_dict(gradients, sep="/")
    dead = {"shared/postfix_proj/kernel", "shared/postfix_proj/bias"}
    assert gradients.keys() == dead | {
        "shared/visual_prompt",
        "shared/prefix_proj/kernel",
        "shared/prefix_proj/bias",
        "video/summary/global_prompt",
    }
    for path, gradient in gradients.items():
        assert np.isfinite(gradient).all()
        assert (np.abs(gradient).max() > 1e-4) == (path not in dead), path
        assert path not in dead or not gradient.any()


@pytest.mark.parametrize("reducer", [ToMe(r=1), TempMe(r=0)])
def test_combines_with_merging(reducer):
    reducer = reducer.resolve(patches=TOY.patches, frames=FRAMES, depth=TOY.depth)
    network = LINEAR.copy(reducer=reducer)
    last = macs.list_stages(network, FRAMES)[-1]
    params = make_random_tree(network, FRAMES)
    apply = functools.partial(network.apply, method="encode_video")
    video, tokens = jax.jit(apply)({"params": params}, PIXELS, MASK)
    assert tokens.x.shape == (2, last.clips, last.out, TOY.width)
    assert tokens.summary.shape == (2, 2, TOY.width)
    np.testing.assert_allclose(np.linalg.norm(video, axis=1), 1, rtol=1e-5)
    assert np.ptp(np.asarray(video), axis=0).max() > 1e-3


def transform_slowly(p):
    """Prompts of both towers, block by block of the towers: they do not see each other."""
    video, text = [], []
    block = convert_to_tower_block(p["block"])
    fc, proj = convert_to_tower_block({name: p[name] for name in ("fc", "proj")})["mlp"].values()
    for layer in range(TOY.depth):
        x = p["prompts"][:, layer]
        x_ = apply_norm(block["ln_1"], x)
        x = apply_mlp(block, x + attend(block["attn"], x_, x_, TOY.heads))
        video.append(x[4:].reshape(FRAMES, 2, 16))
        y = apply_linear(fc, x[:4])
        text.append(apply_linear(proj, y / (1 + np.exp(-1.702 * y))))
    return np.stack(video), np.stack(text)


def convert_to_tower_block(block):
    """Kernels [out, in], heads side by side, queries, keys and values in one."""

    def flat(p, out):
        return {"kernel": p["kernel"].reshape(-1, out).T, "bias": p["bias"].ravel()}

    mlp = {name: flat(block[name], len(block[name]["bias"])) for name in ("fc", "proj")}
    if "attn" not in block:
        return {"mlp": mlp}
    parts = [flat(block["attn"][name], 16) for name in ("query", "key", "value")]
    qkv = {name: np.concatenate([part[name] for part in parts]) for name in ("kernel", "bias")}
    return block | {"mlp": mlp, "attn": {"qkv": qkv, "out": flat(block["attn"]["out"], 16)}}


def test_the_transformer():
    """The shared prompts agree with a slow loop; every frame attends to its own prompts."""
    network = Clip(TOY, DGLTransformer(frame_prompts=2, frames=FRAMES), Reducer())
    params = make_random_tree(network, FRAMES)

    def run(params, pixels):
        prompts = network.apply({"params": params}, method=lambda module: module.shared())
        return prompts, network.apply({"params": params}, pixels, method="encode_video")[0]

    run = jax.jit(run)
    prompts, vectors = run(params, PIXELS)
    video, text = transform_slowly(convert_to_float64(params["shared"]))
    np.testing.assert_allclose(prompts.video, video, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(prompts.text[:, 0], text[:, :2], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(prompts.unseen[:, 0], text[:, 2:], rtol=1e-5, atol=1e-5)
    assert np.abs(run(params, PIXELS[:, ::-1])[1] - vectors).max() > 1e-4


def test_the_transformer_needs_its_frames():
    adapter = DGLTransformer().resolve(frames=FRAMES, words=6, arch=TOY)
    assert adapter.frames == FRAMES

    def stages(reducer):
        reducer = reducer.resolve(patches=TOY.patches, frames=FRAMES, depth=TOY.depth)
        return make_schedule(reducer, frames=FRAMES, tokens=1 + TOY.patches, depth=TOY.depth)

    adapter.check(stages(ToMe(r=1)), TOY)
    with pytest.raises(ValueError, match="each of 4 frames .* block 0 works on 2 clips; keep the"):
        adapter.check(stages(TempMe(r=0)), TOY)


@pytest.mark.parametrize(
    "adapter", [DGL(), DGLTransformer(frames=FRAMES)], ids=["linear", "transformer"]
)
def test_in_half_precision_and_computed_again(adapter):
    """The vectors stay float32; what is shared passes through blocks that are computed again."""
    network = Clip(TOY, adapter, Reducer(), jnp.bfloat16, remat=True)
    encode = functools.partial(network.init_with_output, jax.random.key(0))
    with jax.numpy_dtype_promotion("standard"):  # Flax's own layers promote
        vectors, _ = jax.eval_shape(encode, PIXELS, MASK, IDS, IDS > 0)
    assert [(a.shape, a.dtype) for a in vectors] == [((2, 8), jnp.float32)] * 2


def test_the_start():
    """Prompts U(-v, v), v^2 = 6 / (3 patch^2 + width); the linear layers as PyTorch's."""
    learned = find_shapes(LINEAR, FRAMES).keys() - list_pretrained_paths(TOY)
    start = initialise(LINEAR, FRAMES, learned, seed=1)
    v = (6 / (3 * 8**2 + 16)) ** 0.5
    bounds = {"visual_prompt": v, "global_prompt": v, "kernel": 0.25, "bias": 0.25}
    for path, array in start.items():
        assert 0.7 * bounds[path[-1]] < np.abs(array).max() <= bounds[path[-1]], path


class KeysOnce(DGL):
    """What the published code would cost if it projected keys and values once."""

    published_keys_twice = False


def test_the_prompts_of_the_transformer_start_as_pytorch_s_embedding():
    network = Clip(TOY, DGLTransformer(frames=FRAMES))
    path = ("shared", "prompts")
    prompts = initialise(network, FRAMES, {path}, seed=0)[path]
    assert prompts.shape == (8 + 4 * FRAMES, 3, 16)
    np.testing.assert_allclose([prompts.mean(), prompts.std()], [0, 1], atol=0.1)


@pytest.mark.parametrize(
    ("backbone", "published", "once", "tokens"),
    [("ViT-B/32", 67.52, 57.65, 652), ("ViT-B/16", 251.35, 216.48, 2416)],
)
def test_costs_are_those_of_the_methods_page(backbone, published, once, tokens):
    network = Clip(ARCHITECTURES[backbone], DGL(), Reducer())
    mac, paper = macs.count_macs(network, 12)
    assert paper / 1e9 == pytest.approx(published, rel=2e-3)
    _, paper = macs.count_macs(network.copy(adapter=KeysOnce()), 12)
    assert paper / 1e9 == pytest.approx(once, rel=2e-3)
    assert costs.count_output_tokens(network, macs.list_stages(network, 12)) == tokens
    # Ours: local prompts are 4 keys and values for all frames, and have no MLP.
    d, n, patch = 768, tokens // 12 - 4, ARCHITECTURES[backbone].patch
    projections = 4 * (12 * n + 4) * d**2 + 3 * 4 * d**2
    pairs = 12 * n * (n + 8) + 4 * tokens
    block = projections + 2 * pairs * d + 8 * (12 * n + 4) * d**2
    assert mac == 12 * block + 12 * (n - 1) * 3 * patch**2 * d + d * 512


@pytest.mark.parametrize(
    ("adapter", "parameters"), [(DGL(), 827_392), (DGLTransformer(frames=12), 9_575_168)]
)
def test_parameters(adapter, parameters):
    network = Clip(ARCHITECTURES["ViT-B/32"], adapter, Reducer())
    assert costs.count_trainable(network, 12) == parameters


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="there are 5 text blocks but 2 video blocks"):
        DGL().check((), Architecture(depth=2, text_depth=5))
    with pytest.raises(ValueError, match="video_prompts=0 must be a whole number of 1 or more"):
        DGL(video_prompts=0)
