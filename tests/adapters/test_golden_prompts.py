"""Prompts of every kind give what the authors' own code gave on the same weights."""

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
    map_transformer_block,
)

from tempme_jax.adapters.dgl import DGL, DGLTransformer
from tempme_jax.adapters.plevu import PLEVU
from tempme_jax.adapters.prompt import Prompt
from tempme_jax.adapters.vop import PromptGenerator, VoP
from tempme_jax.networks.architecture import Architecture
from tempme_jax.networks.clip import Clip
from tempme_jax.parameters import find_shapes, flatten, join, split
from tempme_jax.vectors import normalize

TOY = Architecture(
    embed_dim=32, image_size=32, patch=8, width=64, depth=3, heads=1,
    text_width=64, text_depth=3, text_heads=1, vocab_size=50, context_length=20,
)  # fmt: skip


def run(network, params, videos, ids, upstream, *, unit=("video", "text")):
    """Return the vectors of videos and texts, and the slopes by what trains of their products.

    `upstream` are the factors of both; the vectors named by `unit` are made unit length before.
    """
    trainable, frozen = split(network, params)

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def weigh(trainable):
        variables = {"params": join(trainable, frozen)}
        video, _ = network.apply(variables, videos, method="encode_video")
        vectors = {"video": video, "text": network.apply(variables, ids, method="encode_text")}
        weighed = [normalize(v) if name in unit else v for name, v in vectors.items()]
        return sum((v * g).sum() for v, g in zip(weighed, upstream, strict=True)), vectors

    (_, vectors), slopes = weigh(trainable)
    return vectors["video"], vectors["text"], slopes


def check_shapes(network, frames, params):
    """Check that no parameter is missing or superfluous."""
    assert find_shapes(network, frames) == {path: a.shape for path, a in flatten(params).items()}


def read_ids(golden, n=None):
    return jnp.asarray(golden.values["ids"][:, :n], jnp.int32)


def test_vop():
    """The authors' 6 + 0 prompts of a text; their mean over frames is not made unit length."""
    golden = load_golden("vop")
    arch = dataclasses.replace(TOY, width=128, heads=2, text_depth=2)
    visual = golden.weights["visual_prompt_learner.visual_prompts"]
    texts = golden.weights["text_prompt_learner.text_prompts"]

    def map_vop(count):
        flat = map_clip(golden.weights)
        flat |= {("video", "prompts", f"block_{i}"): a[0] for i, a in enumerate(visual)}
        flat |= {("text", "prompts", f"block_{i}"): a[:count] for i, a in enumerate(texts)}
        return make_tree(flat)

    network, params = Clip(arch, VoP(generic=5, text=6)), map_vop(6)
    check_shapes(network, 3, params)
    inputs = golden.draw_videos("vop.pixels", 3), read_ids(golden)
    upstream = draw_normal("vop.gv", (2, 32)), draw_normal("vop.gt", (3, 32))
    video, text, slopes = run(network, params, *inputs, upstream, unit=("text",))
    golden.check(video, "video")
    golden.check(normalize(text), "text_prefix")
    prompts = [slopes["video"]["prompts"][f"block_{i}"][None] for i in range(3)]
    golden.check(np.stack(prompts), "grad_visual_prompts")
    prompts = [slopes["text"]["prompts"][f"block_{i}"] for i in range(2)]
    golden.check(np.stack(prompts), "grad_text_prompts")

    # Their 3 + 3: those behind the text are hidden, and it is read three places behind its end.
    network = Clip(arch, ReadBehind(generic=5, text=3))
    apply = jax.jit(functools.partial(network.apply, method="encode_text"))
    text = normalize(apply({"params": map_vop(3)}, inputs[1]))
    check_close(text[:2], golden.values["text_both"][:2], "text_both")


class ReadBehind(VoP):
    """VoP that reads a text three places behind its end."""

    def sentence(self, arch, dtype):
        return lambda x, size, ids: (x, size, ids.argmax(axis=1) + 3)


def test_the_generator_of_vop_is_pytorch_s_lstm():
    golden = load_golden("vop_generator_torch_lstm", prefix="vop_generator.")
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    params = {
        direction: {name: jnp.asarray(golden.weights[f"lstm.{name}_l0{end}"]) for name in names}
        for direction, end in (("forward", ""), ("backward", "_reverse"))
    } | {"out": map_dense(golden.weights, "fc")}
    x = jnp.asarray(golden.values["x"])
    upstream = draw_normal("vop_generator.g", golden.values["out"].shape)

    @jax.jit
    @functools.partial(jax.value_and_grad, argnums=(0, 1), has_aux=True)
    def run(params, x):
        prompts = PromptGenerator(3).apply({"params": params}, x, jnp.ones(x.shape[:2], bool))
        return (prompts * upstream).sum(), prompts

    (_, prompts), (by_params, by_x) = run(params, x)
    golden.check(prompts, "out")
    golden.check(by_x, "grad_x")
    golden.check(by_params["backward"]["weight_hh"], "grad_hh")


def map_dgl(golden, depth, frames):
    """The parameters of both forms; the width is 768."""
    weights = golden.weights
    clip = {name: a for name, a in weights.items() if "prompt" not in name}
    params = make_tree(map_clip(clip))
    params["video"]["summary"] = {
        "global_prompt": jnp.asarray(weights["visual.prompt_embeddings"][0])
    }
    if "visual_prompt_embedding" in weights:
        params["shared"] = {
            "visual_prompt": jnp.asarray(weights["visual_prompt_embedding"].reshape(4, depth, 768)),
            "prefix_proj": map_dense(weights, "prefix_text_prompt_proj_layer"),
            "postfix_proj": map_dense(weights, "postfix_text_prompt_proj_layer"),
        }
    else:
        prompts = weights["unified_prompt_embedding.weight"].reshape(8 + 4 * frames, depth, 768)
        params["shared"] = {
            "prompts": jnp.asarray(prompts),
            "block": map_transformer_block(weights, "PromptTransformer.resblocks.0.", 12),
            "fc": map_dense(weights, "unified_prompt_mlp.c_fc"),
            "proj": map_dense(weights, "unified_prompt_mlp.c_proj"),
        }
    return params


@pytest.mark.parametrize("form", ["linear", "transformer"])
def test_dgl(form):
    """Their videos are compared by direction, and have another length."""
    golden = load_golden(f"dgl_{form}", prefix="dgl.")
    arch = dataclasses.replace(TOY, image_size=64, patch=32, width=768, heads=12, context_length=77)
    frames = 3
    network = Clip(arch, DGL() if form == "linear" else DGLTransformer(frames=frames))
    params = map_dgl(golden, arch.depth, frames)
    check_shapes(network, frames, params)
    inputs = golden.draw_videos("dgl.pixels", frames), read_ids(golden)
    upstream = draw_normal("dgl.gv", (2, 32)), draw_normal("dgl.gt", (2, 32))
    video, text, slopes = run(network, params, *inputs, upstream)
    theirs = golden.values["video"]
    theirs = theirs / np.linalg.norm(theirs, axis=1, keepdims=True)
    check_close(normalize(video), theirs, "video")
    golden.check(text, "text")
    check_dgl_slopes(golden, slopes)


def check_dgl_slopes(golden, slopes):
    shared, checks = slopes["shared"], {}
    golden.check(slopes["video"]["summary"]["global_prompt"][None], "grad:visual.prompt_embeddings")
    if "visual_prompt" in shared:
        golden.check(shared["visual_prompt"].reshape(1, 4, -1), "grad:visual_prompt_embedding")
        checks["prefix_text_prompt_proj_layer"] = shared["prefix_proj"]
        for array in (
            *shared["postfix_proj"].values(),
            golden.values["gradnorm:postfix_text_prompt_proj_layer.weight"],
        ):
            assert not np.any(array)
    else:
        checks["unified_prompt_mlp.c_fc"], checks["unified_prompt_mlp.c_proj"] = (
            shared["fc"], shared["proj"],
        )  # fmt: skip
        block, name = shared["block"], "PromptTransformer.resblocks.0"
        checks[f"{name}.mlp.c_fc"], checks[f"{name}.mlp.c_proj"] = block["fc"], block["proj"]
        for norm in ("ln_1", "ln_2"):
            golden.check(block[norm]["scale"], f"grad:{name}.{norm}.weight")
            golden.check(block[norm]["bias"], f"grad:{name}.{norm}.bias")
        biases = [block["attn"][part]["bias"].ravel() for part in ("query", "key", "value")]
        golden.check(np.concatenate(biases), f"grad:{name}.attn.in_proj_bias")
        golden.check(block["attn"]["out"]["bias"], f"grad:{name}.attn.out_proj.bias")
        check_head(golden, shared["prompts"], "unified_prompt_embedding.weight")
    for name, dense in checks.items():
        golden.check(dense["bias"], f"grad:{name}.bias")
        check_head(golden, dense["kernel"].T, f"{name}.weight")


def check_head(golden, array, name):
    """Check the first numbers of an array, and its norm; PyTorch adds the squares in float32."""
    golden.check(np.asarray(array).ravel()[:512], f"gradhead:{name}")
    np.testing.assert_allclose(np.linalg.norm(array), golden.values[f"gradnorm:{name}"], rtol=1e-4)


def test_plevu():
    """With 16 prompts 45 ids of 77 are left."""
    golden = load_golden("plevu")
    frames, arch = 5, dataclasses.replace(
        TOY, embed_dim=512, patch=16, depth=2, text_width=512, text_depth=2, text_heads=8,
        context_length=77,
    )  # fmt: skip
    weights = golden.weights
    names = {
        name.removeprefix("clipmodel."): a for name, a in weights.items() if "clipmodel" in name
    }
    params = make_tree(map_clip(names))
    params["text"]["sentence"] = {"prompts": jnp.asarray(weights["embedding.weight"])}
    params["video"]["pool"] = {"position": jnp.asarray(weights["temporalEmbedding.weight"])} | {
        f"block_{i}": map_transformer_block(weights, f"temporalModelling.resblocks.{i}.", 8)
        for i in range(2)
    }
    network = Clip(arch, PLEVU())
    check_shapes(network, frames, params)
    pixels = draw_normal("plevu.pixels", tuple(golden.values["pixels_shape"]))
    inputs = jnp.asarray(pixels.transpose(0, 1, 3, 4, 2)), read_ids(golden, 45)
    upstream = draw_normal("plevu.gv", (2, 512)), draw_normal("plevu.gt", (3, 512))
    video, text, slopes = run(network, params, *inputs, upstream)
    golden.check(video, "video")
    golden.check(text, "text")
    golden.check(slopes["text"]["sentence"]["prompts"], "grad_embedding")
    pool = slopes["video"]["pool"]
    golden.check(pool["position"], "grad_temporal")
    golden.check(pool["block_1"]["fc"]["bias"], "grad_fc_bias")
    attention = pool["block_0"]["attn"]
    biases = [attention[part]["bias"].ravel() for part in ("query", "key", "value")]
    golden.check(np.concatenate(biases), "grad_in_proj_bias")


def test_prompt():
    """Vectors of single frames, before they have unit length."""
    golden = load_golden("prompt_ivlp")
    names = {
        "video": ["visual.VPT", *(f"visual.transformer.resblocks.{i}.VPT_shallow" for i in (1, 2))],
        "text": ["prompt_learner.ctx", *(f"transformer.resblocks.{i}.VPT_shallow" for i in (1, 2))],
    }
    flat = map_clip({name: a for name, a in golden.weights.items() if "VPT" not in name})
    for tower, prompts in names.items():
        flat |= {
            (tower, "prompts", f"block_{i}"): golden.weights[name] for i, name in enumerate(prompts)
        }
    network, params = Clip(TOY, PromptOfFrames()), make_tree(flat)
    check_shapes(network, 1, params)
    inputs = golden.draw_videos("ivlp.pixels", 1), read_ids(golden)
    upstream = draw_normal("ivlp.gv", (6, 32)), draw_normal("ivlp.gt", (3, 32))
    video, text, slopes = run(network, params, *inputs, upstream, unit=())
    golden.check(video, "frames")
    golden.check(text, "text")
    for tower, prompts in names.items():
        for i, name in enumerate(prompts):
            golden.check(slopes[tower]["prompts"][f"block_{i}"], f"grad:{name}")


@dataclasses.dataclass(frozen=True)
class PromptOfFrames(Prompt):
    """Prompt that returns the vector of the first frame as it is."""

    def pool(self, dtype):
        return lambda x, weight: x[:, 0]
