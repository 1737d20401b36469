"""What trains inside the blocks gives what the authors' own code gave on the same weights."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden import (
    check_close,
    draw_normal,
    load_golden,
    make_tree,
    map_clip,
    map_dense,
    map_norm,
    map_timm_block,
)

from tempme_jax.adapters.bottleneck import Bottleneck
from tempme_jax.adapters.full import Full
from tempme_jax.adapters.mv_adapter import MVAdapter
from tempme_jax.losses import compute_contrastive_loss, compute_similarity
from tempme_jax.networks.architecture import Architecture
from tempme_jax.networks.block import Block
from tempme_jax.networks.clip import Clip
from tempme_jax.networks.tokens import Stage, Tokens
from tempme_jax.parameters import find_shapes, flatten, join, split
from tempme_jax.vectors import normalize

WORDS = 12
TOY = Architecture(
    embed_dim=32, image_size=32, patch=8, width=64, depth=3, heads=1,
    text_width=64, text_depth=3, text_heads=1, vocab_size=50, context_length=20,
)  # fmt: skip
# Parts of an adapter of MV-Adapter, by the authors' names; "video" is there in the video tower.
DENSE = {
    "down": ("down",),
    "md_proj": ("down", "modulation"),
    "up": ("up",),
    "conv_rf_c.g": ("calibration", "video"),
    "conv_rf_c.a": ("calibration", "down"),
    "conv_rf_c.b": ("calibration", "up"),
    "block.attn.out_proj": ("transformer", "block", "attn", "out"),
    "block.mlp.c_fc": ("transformer", "block", "mlp", "fc"),
    "block.mlp.c_proj": ("transformer", "block", "mlp", "proj"),
}
NORMS = {
    "ln_pre": ("transformer", "ln_pre"),
    "block.ln_1": ("transformer", "block", "ln_1"),
    "block.ln_2": ("transformer", "block", "ln_2"),
}
ARRAYS = {
    "cc": ("video",),
    "positional_embedding": ("transformer", "position_embedding"),
    "block.attn.in_proj_bias": ("transformer", "block", "attn", "qkv", "bias"),
}


def test_adaptformer():
    golden = load_golden("adaptformer")
    weights, blocks = dict(golden.weights), []
    for i in range(2):
        prefix = f"adaptformer.blocks.{i}."
        for kind in ("weight", "bias"):
            parts = [weights[f"{prefix}attn.{name}_proj.{kind}"] for name in "qkv"]
            weights[f"{prefix}attn.qkv.{kind}"] = np.concatenate(parts)
        block = map_timm_block(weights, prefix, fc="fc1", proj="fc2")
        block["bottleneck"] = {
            name: map_dense(weights, f"{prefix}adaptmlp.{name}_proj") for name in ("down", "up")
        }
        blocks.append(block)
    x = jnp.asarray(golden.values["x"])
    b, n, _ = x.shape
    upstream = draw_normal("adaptformer.g", golden.values["out"].shape)
    stage = Stage(clips=1, n_cls=1, attention=n, mlp=n)

    @jax.jit
    @functools.partial(jax.value_and_grad, argnums=(0, 1), has_aux=True)
    def run(x, blocks):
        tokens = Tokens(x[:, None], jnp.ones((b, 1, n)))
        for layer, params in enumerate(blocks):
            block = Block("video", layer, 4, "quick_gelu", Bottleneck(parallel=True))
            tokens = block.apply({"params": params}, tokens, stage)
        return (tokens.x[:, 0] * upstream).sum(), tokens.x[:, 0]

    (_, out), (by_x, by_blocks) = run(x, blocks)
    golden.check(out, "out")
    golden.check(by_x, "grad_x")
    for i, block in enumerate(by_blocks):
        for name, dense in block["bottleneck"].items():
            golden.check(dense["kernel"].T, f"grad:{i}.adaptmlp.{name}_proj.weight")
            golden.check(dense["bias"], f"grad:{i}.adaptmlp.{name}_proj.bias")


def rename_to_openai(weights):
    """Return the arrays of CLIP under OpenAI's names; the authors' have q, k and v apart."""
    clip = {
        name.replace(".attn.ln.", ".ln_1.").replace(".mlp.ln.", ".ln_2."): a
        for name, a in weights.items()
        if "adapter" not in name and not name.startswith("prompt")
    }
    for name in [name for name in clip if ".attn.q_proj." in name]:
        parts = [clip.pop(name.replace("q_proj", f"{part}_proj")) for part in "qkv"]
        clip[name.replace("attn.q_proj.", "attn.in_proj_")] = np.concatenate(parts)
    return clip


def map_mv_adapter(weights, prefix):
    """Return the parameters of one adapter."""
    flat = {}
    for name, path in DENSE.items():
        if f"{prefix}{name}.weight" in weights:
            flat |= {(*path, key): a for key, a in map_dense(weights, prefix + name).items()}
    for name, path in NORMS.items():
        flat |= {(*path, key): a for key, a in map_norm(weights, prefix + name).items()}
    flat |= {
        path: weights[prefix + name] for name, path in ARRAYS.items() if prefix + name in weights
    }
    kernel = weights[f"{prefix}block.attn.in_proj_weight"].T
    flat["transformer", "block", "attn", "qkv", "kernel"] = kernel
    return make_tree(flat)


def find_slope(adapter, name):
    """Return the gradient of one adapter by the authors' array `name`."""
    flat = flatten(adapter)
    part, _, kind = name.rpartition(".")
    if name in ARRAYS:
        return flat[ARRAYS[name]]
    if name == "block.attn.in_proj_weight":
        return flat["transformer", "block", "attn", "qkv", "kernel"].T
    if part in NORMS:
        return flat[*NORMS[part], {"weight": "scale", "bias": "bias"}[kind]]
    slope = flat[*DENSE[part], {"weight": "kernel", "bias": "bias"}[kind]]
    return slope.T if kind == "weight" else slope


@pytest.mark.parametrize("tie", ["in", "out"])
def test_mv_adapter(tie):
    golden = load_golden(f"mv_adapter_{tie}", prefix="mv.")
    weights, frames = golden.weights, 4
    adapter = MVAdapter(
        width=16, heads=2, calibration=16, tied=2, tie=tie, factor=8, words=WORDS,
        clip_biases=False,
    )  # fmt: skip
    params = make_tree(map_clip(rename_to_openai(weights)))
    params["shared"] = {"factors": jnp.stack([weights["prompt.0"], weights["prompt.1"]])}
    for tower, prefix in (("video", "visual."), ("text", "")):
        for i in range(3):
            name = f"{prefix}transformer.resblocks.{i}.mlp.adapter."
            params[tower][f"block_{i}"]["mv_adapter"] = map_mv_adapter(weights, name)
    network = Clip(dataclasses.replace(TOY, context_length=WORDS), adapter)
    shapes = {path: a.shape for path, a in flatten(params).items()}
    assert find_shapes(network, frames) == shapes
    videos = golden.draw_videos("mv.pixels", frames)
    ids = jnp.asarray(golden.values["ids"], jnp.int32)
    upstream = draw_normal("mv.gv", (2, 32)), draw_normal("mv.gt", (3, 32))
    trainable, frozen = split(network, params)

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def run(trainable, mask):
        variables = {"params": join(trainable, frozen)}
        video, _ = network.apply(variables, videos, mask, method="encode_video")
        vectors = normalize(video), network.apply(variables, ids, method="encode_text")
        weighed = (vectors[0] * upstream[0]).sum() + (normalize(vectors[1]) * upstream[1]).sum()
        return weighed, vectors

    mask = jnp.ones((2, frames), bool)
    (_, (video, text)), slopes = run(trainable, mask)
    golden.check(video, "video")
    golden.check(text, "text")
    (_, (video, _)), _ = run(trainable, mask.at[1, -1].set(False))
    theirs = golden.values["frames_masked"]
    theirs = theirs / np.linalg.norm(theirs, axis=2, keepdims=True)
    theirs = np.stack([theirs[0].mean(axis=0), theirs[1, :3].mean(axis=0)])
    check_close(video, theirs / np.linalg.norm(theirs, axis=1, keepdims=True), "frames_masked")
    check_mv_slopes(golden, slopes)


def check_mv_slopes(golden, slopes):
    names = {key.removeprefix("head_of_") for key in golden.values}
    names = {name.removeprefix("grad:") for name in names if name.startswith("grad:")}
    assert len(names) > 90
    for name in names:
        if name.startswith("prompt."):
            slope = slopes["shared"]["factors"][int(name[-1])]
        else:
            tower = "video" if name.startswith("visual.") else "text"
            block, _, part = name.split("resblocks.")[1].partition(".mlp.adapter.")
            slope = find_slope(slopes[tower][f"block_{block}"]["mv_adapter"], part)
        golden.check(slope, f"grad:{name}")


def test_clip4clip():
    """Similarities, the loss, its gradients, and what trains."""
    golden = load_golden("clip4clip")
    network = Clip(TOY, Full())
    videos = golden.draw_videos("c4c.pixels", 4)
    ids, mask = jnp.asarray(golden.values["ids"], jnp.int32), jnp.asarray(golden.values["mask"] > 0)
    params = make_tree(map_clip(golden.weights))
    trainable, frozen = split(network, params)

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def run(trainable):
        params = join(trainable, frozen)
        video, text = network.apply({"params": params}, videos, mask, ids, None)
        similarity = compute_similarity(text, video, jnp.exp(params["logit_scale"]))
        return compute_contrastive_loss(similarity), similarity

    (loss, similarity), slopes = run(trainable)
    golden.check(similarity, "similarity")
    golden.check(loss, "loss")
    slopes, places = flatten(slopes), find_places(golden.weights)
    names = {key.removeprefix("head_of_") for key in golden.values}
    for name, path in places.items():
        assert (path in slopes) == (name not in set(golden.values["frozen"].tolist())), name
        if f"grad:{name}" in names:
            golden.check(slopes[path], f"grad:{name}")
            names.remove(f"grad:{name}")
    assert not any(name.startswith("grad:") for name in names)


def find_places(weights):
    """Return where each array goes in our tree: every array is given a number of its own."""
    numbered = {
        name: np.full(a.shape, i, np.float32) for i, (name, a) in enumerate(weights.items())
    }
    places = {int(np.ravel(a)[0]): path for path, a in map_clip(numbered).items()}
    return {name: places[i] for i, name in enumerate(weights)}
