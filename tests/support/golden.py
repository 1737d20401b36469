"""What the authors' own code of a method gave, and the arrays that it was given, drawn by name.

The files in `fixtures/reference/methods` were made by the published PyTorch code, in float32 on a
CPU (torch 2.13.0, timm 1.0.31), of these repositories and commits:

    evit*           youweiliang/evit 5ca95a7
    diffrate*       OpenGVLab/DiffRate 91ae3e3
    sta             Mark12Ding/STA faf10be
    testa           RenShuhuai-Andy/TESTA 41b9486
    vop             modelscope 1.40.2, vop_retrieval
    vop_generator*  torch.nn.LSTM and torch.nn.Linear alone
    dgl_*           knightyxp/DGL 9139fd1
    plevu           ju-chen/Efficient-Prompt 1f69a18
    mv_adapter_*    zhangbw17/MV-Adapter 08a61f3
    prompt_ivlp     muzairkhattak/multimodal-prompt-learning 69bce21 (trainer IVLP, 5 prompts)
    adaptformer     ShoufaChen/AdaptFormer 6967d67
    clip4clip       ArrowLuo/CLIP4Clip 508ffa3
    open_clip_*     open_clip_torch 3.3.0

Weights and pixels are not in the files: they depend on their names and shapes alone. Of a large
gradient there is its beginning ("head_of_NAME") and its norm ("norm_of_NAME").
"""

import dataclasses
import json
import zlib

import flax.traverse_util
import jax.numpy as jnp
import numpy as np
from repository import FIXTURES

from tempme_jax.weights.layouts import read_layout

TOLERANCE = 1e-5

IN_OUT = ("proj", "text_projection")  # matrices [in, out]; all others are [out, in, ...]
TABLES = ("embedding", "prompt", "ctx", "position", "embed", "cc", "VPT")
CLIP_NAMES = (
    "visual.", "transformer.", "token_embedding", "positional_embedding", "ln_final",
    "text_projection", "logit_scale",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Golden:
    """The content of a file, and the weights that belong to it under the authors' names."""

    values: dict[str, np.ndarray]
    weights: dict[str, np.ndarray]

    def draw_videos(self, name, frames):
        """Return normalised pixels [b, frames, h, w, 3]."""
        pixels = draw_normal(name, tuple(self.values["pixels_shape"]))
        pixels = pixels.reshape(-1, frames, *pixels.shape[-3:])
        return jnp.asarray(pixels.transpose(0, 1, 3, 4, 2))

    def check(self, ours, name):
        """Check that an array is the one of a name, relative to its largest magnitude."""
        if f"head_of_{name}" in self.values:
            head, norm = self.values[f"head_of_{name}"], self.values[f"norm_of_{name}"]
            ours = np.asarray(ours).ravel()
            check_close(ours[: head.size], head, name)
            check_close(np.linalg.norm(ours.astype(np.float64)), norm, f"norm of {name}")
        else:
            check_close(ours, self.values[name], name)


def load_golden(name, prefix=""):
    """Return a file; `prefix` is taken off the names of weights."""
    with np.load(FIXTURES / "reference" / "methods" / f"{name}.npz") as arrays:
        values = dict(arrays)
    shapes = json.loads(str(values.pop("weights_json")))
    weights = {
        name.removeprefix(prefix): draw(name, tuple(shape)) for name, shape in shapes.items()
    }
    return Golden(values, weights)


def draw_normal(name, shape):
    """Return float32 N(0, 1) that depend on name and shape alone."""
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    return generator.standard_normal(shape, dtype=np.float32)


def draw(name, shape):
    """Return norms 1 + 0.1 z, other vectors 0.1 z, tables 0.5 z, matrices z / sqrt(inputs)."""
    z, last = draw_normal(name, shape), name.split(".")[-1]
    if not shape:
        return np.float32(2) + np.float32(0.1) * z
    in_table = any(table in part for table in TABLES for part in name.split(".")[-2:])
    layers = ("bias" in last) or ("_proj" in name) or ("_mlp" in name)
    if in_table and last not in IN_OUT and not layers:
        return np.float32(0.5) * z
    if len(shape) == 1:
        return np.float32(1 if last == "weight" else 0) + np.float32(0.1) * z
    inputs = shape[0] if last in IN_OUT else int(np.prod(shape[1:]))
    return z * np.float32(inputs**-0.5)


def check_close(ours, theirs, what):
    """Check that two arrays differ by at most 1e-5 of the largest magnitude of the second."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape, what
    largest = max(np.abs(theirs).max(), 1e-30)
    assert np.abs(ours - theirs).max() / largest < TOLERANCE, what


# The authors' names -> ours.


def map_clip(weights):
    """Return our parameters, by path, from all arrays under OpenAI's names, and no others."""
    named = {name: a for name, a in weights.items() if name.startswith(CLIP_NAMES)}
    return {path: jnp.asarray(a) for path, a in read_layout(named)[1].items()}


def make_tree(flat):
    return flax.traverse_util.unflatten_dict({p: jnp.asarray(a) for p, a in flat.items()})


def map_linear(weights, name):
    """Our `Linear`, whose kernel lies as PyTorch's."""
    return {key: jnp.asarray(weights[f"{name}.{torch}"]) for torch, key in PAIRS.items()}


def map_dense(weights, name):
    """Flax's `Dense`, whose kernel is transposed; with or without a bias."""
    dense = {"kernel": jnp.asarray(weights[f"{name}.weight"].T)}
    if f"{name}.bias" in weights:
        dense["bias"] = jnp.asarray(weights[f"{name}.bias"])
    return dense


def map_norm(weights, name):
    return {
        "scale": jnp.asarray(weights[f"{name}.weight"]),
        "bias": jnp.asarray(weights[f"{name}.bias"]),
    }


PAIRS = {"weight": "kernel", "bias": "bias"}


def map_timm_block(weights, prefix, *, fc="mlp.fc1", proj="mlp.fc2"):
    """Our `Block` from timm's."""
    return {
        "ln_1": map_norm(weights, f"{prefix}norm1"),
        "ln_2": map_norm(weights, f"{prefix}norm2"),
        "attn": {
            "qkv": map_linear(weights, f"{prefix}attn.qkv"),
            "out": map_linear(weights, f"{prefix}attn.proj"),
        },
        "mlp": {
            "fc": map_linear(weights, f"{prefix}{fc}"),
            "proj": map_linear(weights, f"{prefix}{proj}"),
        },
    }


def map_transformer_block(weights, prefix, heads):
    """Our `TransformerBlock` from a block of CLIP's names."""
    width = weights[f"{prefix}ln_1.weight"].size
    kernels = np.split(weights[f"{prefix}attn.in_proj_weight"], 3)
    biases = np.split(weights[f"{prefix}attn.in_proj_bias"], 3)
    attention = {
        name: {
            "kernel": jnp.asarray(kernel.T.reshape(width, heads, -1)),
            "bias": jnp.asarray(bias.reshape(heads, -1)),
        }
        for name, kernel, bias in zip(("query", "key", "value"), kernels, biases, strict=True)
    }
    out = map_dense(weights, f"{prefix}attn.out_proj")
    attention["out"] = {"kernel": out["kernel"].reshape(heads, -1, width), "bias": out["bias"]}
    return {
        "attn": attention,
        "ln_1": map_norm(weights, f"{prefix}ln_1"),
        "ln_2": map_norm(weights, f"{prefix}ln_2"),
        "fc": map_dense(weights, f"{prefix}mlp.c_fc"),
        "proj": map_dense(weights, f"{prefix}mlp.c_proj"),
    }
