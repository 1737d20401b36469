"""Names and forms of SigLIP's arrays as transformers writes them, as one table."""

from collections.abc import Iterable

import numpy as np

from tempme_jax.adapters.base import Path
from tempme_jax.networks.architecture import Architecture
from tempme_jax.weights.clip_layouts import BLOCK_PREFIXES, OWN_PREFIXES
from tempme_jax.weights.errors import WeightsError
from tempme_jax.weights.forms import (
    CONVOLUTION,
    Family,
    Form,
    LayoutEntry,
    count_blocks,
)
from tempme_jax.weights.naming import Arrays
from tempme_jax.weights.umt_layouts import Row, expand, pair_linear, pair_norm

# Files have these as arrays of one number.
NUMBER = Form(lambda a: a.reshape(()), lambda a: a.reshape(1))
PROBE = Form(lambda a: a.reshape(a.shape[-1]), lambda a: a.reshape(1, 1, -1))
OUTSIDE_BLOCKS = [
    Row("logit_scale", "logit_scale", NUMBER),
    Row("logit_bias", "logit_bias", NUMBER),
    Row("video/patches/kernel", "vision_model.embeddings.patch_embedding.weight", CONVOLUTION),
    Row("video/patches/bias", "vision_model.embeddings.patch_embedding.bias"),
    Row("video/position_embedding", "vision_model.embeddings.position_embedding.weight"),
    *pair_norm("video/ln_post", "vision_model.post_layernorm"),
    Row("video/head/probe", "vision_model.head.probe", PROBE),
    Row("video/head/qkv/kernel", "vision_model.head.attention.in_proj_weight"),
    Row("video/head/qkv/bias", "vision_model.head.attention.in_proj_bias"),
    *pair_linear("video/head/out", "vision_model.head.attention.out_proj"),
    *pair_norm("video/head/ln", "vision_model.head.layernorm"),
    *pair_linear("video/head/mlp/fc", "vision_model.head.mlp.fc1"),
    *pair_linear("video/head/mlp/proj", "vision_model.head.mlp.fc2"),
    Row("text/token_embedding", "text_model.embeddings.token_embedding.weight"),
    Row("text/position_embedding", "text_model.embeddings.position_embedding.weight"),
    *pair_norm("text/ln_final", "text_model.final_layer_norm"),
    *pair_linear("text/head", "text_model.head"),
]
IN_BLOCKS = [
    *pair_norm("ln_1", "layer_norm1"),
    *pair_linear("attn/qkv", "self_attn.{q,k,v}_proj"),
    *pair_linear("attn/out", "self_attn.out_proj"),
    *pair_norm("ln_2", "layer_norm2"),
    *pair_linear("mlp/fc", "mlp.fc1"),
    *pair_linear("mlp/proj", "mlp.fc2"),
]
PREFIXES = BLOCK_PREFIXES["huggingface"]


def list_entries(layout: str, depths: dict[str, int]) -> list[LayoutEntry]:
    """List every parameter of a file, for towers of these depths."""
    entries = [*expand("", "", OUTSIDE_BLOCKS)]
    for tower, depth in depths.items():
        for i in range(depth):
            entries += expand(f"{OWN_PREFIXES[tower]}{i}/", f"{PREFIXES[tower]}{i}.", IN_BLOCKS)
    return entries


def find_depths(layout: str, names: Iterable[str]) -> dict[str, int]:
    """Return the number of blocks of each tower in a file."""
    names = list(names)
    prefixes = OWN_PREFIXES if layout == "tempme_jax" else PREFIXES
    return {tower: count_blocks(start, names) for tower, start in prefixes.items()}


def get_depths(arch: Architecture) -> dict[str, int]:
    """Return the number of blocks of each tower of an architecture."""
    return {"video": arch.depth, "text": arch.text_depth}


def drop_useless(layout: str, arrays: Arrays) -> Arrays:
    """Return the arrays: files of SigLIP hold nothing else."""
    return arrays


def explain(names: set[str], extra: set[str]) -> None:
    """Raise a WeightsError if the file holds one tower alone."""
    if not any(name.startswith("text_model.") for name in names):
        raise WeightsError(
            "these are arrays of the vision tower of a SigLIP alone, without a text tower; take "
            "the whole model, as transformers' SiglipModel saves it"
        )


def fit(
    params: dict[Path, np.ndarray], arch: Architecture, backbone: str
) -> dict[Path, np.ndarray]:
    """Return the parameters, which are the same of SigLIP and SigLIP 2."""
    return params


SIGLIP = Family(
    "SigLIP", ("siglip", "siglip2"), ("siglip",), "video/head/probe",
    find_depths, get_depths, list_entries, drop_useless, fit, explain,
)  # fmt: skip
