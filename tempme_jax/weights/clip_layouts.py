"""Names and forms of CLIP's arrays in public checkpoints, as one table.

There are three layouts: OpenAI's (also of open_clip, MetaCLIP and LaCLIP); the published TempMe
code's, which has OpenAI's names behind the prefix `clip.` and what TempMe trains; and Hugging Face
transformers'.
"""

import dataclasses
from collections.abc import Iterable

import numpy as np

from tempme_jax.adapters.base import Path
from tempme_jax.networks.architecture import Architecture
from tempme_jax.weights.families import explain_names
from tempme_jax.weights.forms import (
    CLIP_POSITION,
    CONVOLUTION,
    SAME,
    SCALAR,
    TURNED,
    Family,
    Form,
    LayoutEntry,
    count_blocks,
    spread,
)
from tempme_jax.weights.naming import PUBLISHED_PREFIX, Arrays


@dataclasses.dataclass(frozen=True)
class ClipRow:
    """The names of a parameter in the layouts; {q,k,v} stands for three stacked arrays."""

    ours: str
    openai: str
    huggingface: str | None
    form: Form = SAME
    huggingface_form: Form | None = None  # None: the same as OpenAI's


OUTSIDE_BLOCKS = [
    ClipRow("logit_scale", "logit_scale", "logit_scale", SCALAR),
    ClipRow("video/patches/kernel", "visual.conv1.weight",
        "vision_model.embeddings.patch_embedding.weight", CONVOLUTION),
    ClipRow("video/class_embedding", "visual.class_embedding",
        "vision_model.embeddings.class_embedding"),
    ClipRow("video/position_embedding", "visual.positional_embedding",
        "vision_model.embeddings.position_embedding.weight"),
    ClipRow("video/ln_pre/scale", "visual.ln_pre.weight", "vision_model.pre_layrnorm.weight"),
    ClipRow("video/ln_pre/bias", "visual.ln_pre.bias", "vision_model.pre_layrnorm.bias"),
    ClipRow("video/ln_post/scale", "visual.ln_post.weight", "vision_model.post_layernorm.weight"),
    ClipRow("video/ln_post/bias", "visual.ln_post.bias", "vision_model.post_layernorm.bias"),
    ClipRow("video/projection", "visual.proj", "visual_projection.weight", SAME, TURNED),
    ClipRow("text/token_embedding", "token_embedding.weight",
        "text_model.embeddings.token_embedding.weight"),
    ClipRow("text/position_embedding", "positional_embedding",
        "text_model.embeddings.position_embedding.weight"),
    ClipRow("text/ln_final/scale", "ln_final.weight", "text_model.final_layer_norm.weight"),
    ClipRow("text/ln_final/bias", "ln_final.bias", "text_model.final_layer_norm.bias"),
    ClipRow("text/projection", "text_projection", "text_projection.weight", SAME, TURNED),
]  # fmt: skip
IN_BLOCKS = [
    ClipRow("ln_1/scale", "ln_1.weight", "layer_norm1.weight"),
    ClipRow("ln_1/bias", "ln_1.bias", "layer_norm1.bias"),
    ClipRow("attn/qkv/kernel", "attn.in_proj_weight", "self_attn.{q,k,v}_proj.weight"),
    ClipRow("attn/qkv/bias", "attn.in_proj_bias", "self_attn.{q,k,v}_proj.bias"),
    ClipRow("attn/out/kernel", "attn.out_proj.weight", "self_attn.out_proj.weight"),
    ClipRow("attn/out/bias", "attn.out_proj.bias", "self_attn.out_proj.bias"),
    ClipRow("ln_2/scale", "ln_2.weight", "layer_norm2.weight"),
    ClipRow("ln_2/bias", "ln_2.bias", "layer_norm2.bias"),
    ClipRow("mlp/fc/kernel", "mlp.c_fc.weight", "mlp.fc1.weight"),
    ClipRow("mlp/fc/bias", "mlp.c_fc.bias", "mlp.fc1.bias"),
    ClipRow("mlp/proj/kernel", "mlp.c_proj.weight", "mlp.fc2.weight"),
    ClipRow("mlp/proj/bias", "mlp.c_proj.bias", "mlp.fc2.bias"),
]
# The parameters that the published TempMe code trains; a block need not have them.
TRAINED_IN_BLOCKS = [
    ClipRow("attn/qkv/lora_a", "attn.TVPt_LoRA_a", None, TURNED),
    ClipRow("attn/qkv/lora_b", "attn.TVPt_LoRA_b", None, TURNED),
    ClipRow("join_clips/clip_position", "TVPt_Video_Positional_embedding", None, CLIP_POSITION),
]
# The prefix before the number of a block, by layout and tower.
BLOCK_PREFIXES = {
    "openai": {"video": "visual.transformer.resblocks.", "text": "transformer.resblocks."},
    "huggingface": {"video": "vision_model.encoder.layers.", "text": "text_model.encoder.layers."},
}
OWN_PREFIXES = {"video": "video/block_", "text": "text/block_"}


def list_entries(layout: str, depths: dict[str, int]) -> list[LayoutEntry]:
    """List every parameter that a file in a layout can hold, for towers of these depths."""
    return [
        *(make_entry(layout, row) for row in OUTSIDE_BLOCKS),
        *(
            make_entry(layout, row, tower=tower, block=i, optional=row in TRAINED_IN_BLOCKS)
            for tower in depths
            for i in range(depths[tower])
            for row in IN_BLOCKS + (TRAINED_IN_BLOCKS if layout == "published" else [])
        ),
    ]


def make_entry(
    layout: str, row: ClipRow, *, tower: str = "", block: int = 0, optional: bool = False
) -> LayoutEntry:
    """Make the entry of a row in a layout, for a block of a tower or outside the blocks."""
    column = "huggingface" if layout == "huggingface" else "openai"
    name, path = getattr(row, column), tuple(row.ours.split("/"))
    if tower:
        name = f"{BLOCK_PREFIXES[column][tower]}{block}.{name}"
        path = (tower, f"block_{block}", *path)
    names = spread(name)
    if layout == "published":
        names = tuple(PUBLISHED_PREFIX + name for name in names)
    form = row.huggingface_form if column == "huggingface" and row.huggingface_form else row.form
    return LayoutEntry(path, names, form, optional)


def find_depths(layout: str, names: Iterable[str]) -> dict[str, int]:
    """Return the number of blocks of each tower in a file."""
    names = list(names)
    column = "huggingface" if layout == "huggingface" else "openai"
    prefixes = OWN_PREFIXES if layout == "tempme_jax" else BLOCK_PREFIXES[column]
    prefix = PUBLISHED_PREFIX if layout == "published" else ""
    return {tower: count_blocks(prefix + start, names) for tower, start in prefixes.items()}


def get_depths(arch: Architecture) -> dict[str, int]:
    """Return the number of blocks of each tower of an architecture."""
    return {"video": arch.depth, "text": arch.text_depth}


def drop_useless(layout: str, arrays: Arrays) -> Arrays:
    """Return the arrays: `naming.tidy_names` has left out what CLIP does not need."""
    return arrays


def fit(
    params: dict[Path, np.ndarray], arch: Architecture, backbone: str
) -> dict[Path, np.ndarray]:
    """Return the parameters, as there is one backbone."""
    return params


CLIP = Family(
    "CLIP", ("clip",), ("published", "openai", "huggingface"), "video/class_embedding",
    find_depths, get_depths, list_entries, drop_useless, fit, explain_names,
)  # fmt: skip
