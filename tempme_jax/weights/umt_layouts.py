"""Names and forms of UMT's arrays in its public checkpoints, as one table.

There are three layouts: of pre-training ("umt"), and of models fine-tuned for retrieval
("umt_retrieval") and for question answering ("umt_qa"). A file of pre-training has the head of the
masked language model beside a model for retrieval; the decoder of answers starts from that head and
from the last blocks of the text tower.
"""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from tempme_jax.adapters.base import Path
from tempme_jax.networks.architecture import Architecture
from tempme_jax.weights.errors import WeightsError
from tempme_jax.weights.forms import (
    CLIP_POSITION,
    SAME,
    SCALAR,
    VIDEO_CONVOLUTION,
    Family,
    Form,
    LayoutEntry,
    list_blocks,
    spread,
)
from tempme_jax.weights.naming import Arrays


class Row(NamedTuple):
    """The name of a parameter here and there; {q,v} stands for two arrays that we stack."""

    ours: str
    theirs: str
    form: Form = SAME


def pair_norm(ours: str, theirs: str) -> list[Row]:
    """Return the rows of a layer norm."""
    return [Row(f"{ours}/scale", f"{theirs}.weight"), Row(f"{ours}/bias", f"{theirs}.bias")]


def pair_linear(ours: str, theirs: str) -> list[Row]:
    """Return the rows of a linear layer."""
    return [Row(f"{ours}/kernel", f"{theirs}.weight"), Row(f"{ours}/bias", f"{theirs}.bias")]


VIDEO = [
    Row("patches/kernel", "patch_embed.proj.weight", VIDEO_CONVOLUTION),
    Row("patches/bias", "patch_embed.proj.bias"),
    *pair_norm("ln_post", "norm"),
]
IN_VIDEO_BLOCKS = [
    *pair_norm("ln_1", "norm1"),
    Row("attn/qkv/kernel", "attn.qkv.weight"),
    Row("attn/qkv/bias", "attn.{q,v}_bias"),  # keys have none
    *pair_linear("attn/out", "attn.proj"),
    *pair_norm("ln_2", "norm2"),
    *pair_linear("mlp/fc", "mlp.fc1"),
    *pair_linear("mlp/proj", "mlp.fc2"),
]
# What TempMe trains, under the name that its published code has for CLIP; a block need not have it.
TRAINED_IN_BLOCKS = [
    Row("join_clips/clip_position", "TVPt_Video_Positional_embedding", CLIP_POSITION)
]
BERT = [
    Row("token_embedding", "embeddings.word_embeddings.weight"),
    Row("position_embedding", "embeddings.position_embeddings.weight"),
    Row("type_embedding", "embeddings.token_type_embeddings.weight"),
    *pair_norm("ln_embed", "embeddings.LayerNorm"),
]
IN_BERT_LAYERS = [
    *pair_linear("attn/qkv", "attention.self.{query,key,value}"),
    *pair_linear("attn/out", "attention.output.dense"),
    *pair_norm("ln_attn", "attention.output.LayerNorm"),
    *pair_linear("mlp/fc", "intermediate.dense"),
    *pair_linear("mlp/proj", "output.dense"),
    *pair_norm("ln_mlp", "output.LayerNorm"),
]
IN_CROSS_LAYERS = [
    *pair_linear("cross/q", "crossattention.self.query"),
    *pair_linear("cross/kv", "crossattention.self.{key,value}"),
    *pair_linear("cross/out", "crossattention.output.dense"),
    *pair_norm("ln_cross", "crossattention.output.LayerNorm"),
]
# The head of the masked language model, and of the decoder of answers.
WORD_HEAD = [
    *pair_linear("transform", "transform.dense"),
    *pair_norm("ln_transform", "transform.LayerNorm"),
    Row("bias", "bias"),
]
# What only a model for retrieval has.
RETRIEVAL = [
    *pair_norm("video/ln_pool", "vision_encoder.pool_norm"),
    *pair_linear("video/projection", "vision_proj"),
    *pair_linear("text_projection", "text_proj"),
    *pair_linear("match", "itm_head"),
    Row("temperature", "temp", SCALAR),
]
# Arrays of pre-training that no model needs afterwards.
USELESS = re.compile(r"(vision_encoder\.clip_decoder|clip_teacher)\.")
BLOCKS, DECODER = "vision_encoder.encoder.blocks.", "text_decoder.bert."
# What stands before the arrays of the text tower, and of the head of words.
TEXT = {
    "umt": "text_encoder.bert.",
    "umt_retrieval": "text_encoder.",
    "umt_qa": "text_encoder.",
    "tempme_jax": "text_encoder.",
}
HEAD = {"umt": "text_encoder.cls.predictions.", "umt_qa": "text_decoder.cls.predictions."}


def list_entries(layout: str, depths: dict[str, int]) -> list[LayoutEntry]:
    """List every parameter that a file in a layout can hold, for these depths.

    In our own layout, a file holds a model for question answering if it has a decoder.
    """
    answers = layout == "umt_qa" or (layout == "tempme_jax" and depths["answer"] > 0)
    entries = [*expand("video/", "vision_encoder.encoder.", VIDEO)]
    for i in range(depths["video"]):
        entries += expand(f"video/block_{i}/", f"{BLOCKS}{i}.", IN_VIDEO_BLOCKS)
        entries += expand(f"video/block_{i}/", f"{BLOCKS}{i}.", TRAINED_IN_BLOCKS, optional=True)
    entries += expand_bert("text", TEXT[layout], depths["text"], depths["first_cross"])
    if answers:
        entries += expand_bert("answer", DECODER, depths["answer"], 0)
    else:
        entries += expand("", "", RETRIEVAL)
    if answers or layout != "umt_retrieval":
        head = HEAD["umt_qa" if answers else "umt"]
        entries += expand("answer/", head, WORD_HEAD, optional=not answers)
    return entries


def expand(
    path: str, name: str, rows: list[Row], *, optional: bool = False
) -> Iterator[LayoutEntry]:
    """Make the entries of rows, with these beginnings of their paths and names."""
    for row in rows:
        names = spread(name + row.theirs)
        yield LayoutEntry(tuple((path + row.ours).split("/")), names, row.form, optional)


def expand_bert(tower: str, name: str, depth: int, first_cross: int) -> Iterator[LayoutEntry]:
    """Make the entries of a tower of BERT."""
    yield from expand(f"{tower}/", name, BERT)
    for i in range(depth):
        rows = IN_BERT_LAYERS + (IN_CROSS_LAYERS if i >= first_cross else [])
        yield from expand(f"{tower}/layer_{i}/", f"{name}encoder.layer.{i}.", rows)


def find_depths(layout: str, names: Iterable[str]) -> dict[str, int]:
    """Return the numbers of blocks in a file, and of the first that attends to the video."""
    names = list(names)
    text, cross = f"{TEXT[layout]}encoder.layer.", ".crossattention."
    prefixes = {"video": BLOCKS, "text": text, "answer": f"{DECODER}encoder.layer."}
    if layout == "tempme_jax":
        text, cross = "text/layer_", "/cross/"
        prefixes = {"video": "video/block_", "text": text, "answer": "answer/layer_"}
    depths = {tower: max(list_blocks(p, names), default=-1) + 1 for tower, p in prefixes.items()}
    return depths | {"first_cross": min(list_blocks(text, names, cross), default=0)}


def get_depths(arch: Architecture) -> dict[str, int]:
    """Return the numbers of blocks of an architecture."""
    answers = arch.text_depth - arch.first_cross if arch.backbone == "umt-qa" else 0
    depths = {"video": arch.depth, "text": arch.text_depth, "answer": answers}
    return depths | {"first_cross": arch.first_cross}


def drop_useless(layout: str, arrays: Arrays) -> Arrays:
    """Return the arrays without those of the teacher, and without those that are there twice.

    Raises:
        WeightsError: if the head has other embeddings of words, or another bias, than the tower.
    """
    arrays = {name: array for name, array in arrays.items() if not USELESS.match(name)}
    head = HEAD.get(layout, "")
    tower = DECODER if layout == "umt_qa" else TEXT[layout]
    twins = {
        f"{head}decoder.weight": f"{tower}embeddings.word_embeddings.weight",
        f"{head}decoder.bias": f"{head}bias",
    }
    for name, twin in twins.items():
        if name in arrays and twin in arrays:
            if not np.array_equal(arrays[name], arrays[twin]):
                raise WeightsError(f"{name} differs from {twin}, which in every UMT it is")
            del arrays[name]
    return arrays


def fit(
    params: dict[Path, np.ndarray], arch: Architecture, backbone: str
) -> dict[Path, np.ndarray]:
    """Return the parameters of a backbone of UMT, by those of a file and their architecture.

    What only the other backbone has is left out. The decoder of answers starts from the blocks of
    the text tower that attend to the video.

    Raises:
        WeightsError: if the file lacks what the backbone starts from.
    """
    if backbone == arch.backbone:
        extra = () if backbone == "umt-qa" else ("answer",)
        return {path: array for path, array in params.items() if path[0] not in extra}
    if backbone != "umt-qa":
        raise WeightsError(
            "this UMT was fine-tuned to answer questions and has no heads for retrieval; open the "
            "file of pre-training (b16_25m.pth), or one that was fine-tuned for retrieval"
        )
    missing = [e.path for e in expand("answer/", "", WORD_HEAD) if e.path not in params]
    if missing:
        raise WeightsError(
            f"this UMT lacks {len(missing)} arrays of the head of its masked language model, from "
            "which the decoder of answers starts, as after fine-tuning for retrieval; open the "
            "file of pre-training (b16_25m.pth), or one that was fine-tuned for answers"
        )
    if arch.width != arch.text_width:
        raise WeightsError(
            f"the decoder of answers sees texts of width {arch.text_width} by what was made to see "
            f"videos of width {arch.width}: a UMT for answers needs the same width for both"
        )
    of_retrieval = {entry.path for entry in expand("", "", RETRIEVAL)}
    decoder = {
        entry.path: params["text", *find_source(entry.path[1:], arch.first_cross)]
        for entry in expand_bert("answer", "", arch.text_depth - arch.first_cross, 0)
    }
    return {path: a for path, a in params.items() if path not in of_retrieval} | decoder


def find_source(path: Path, first_cross: int) -> Path:
    """Return the path in the text tower from which a parameter of the decoder starts.

    >>> find_source(("layer_0", "ln_mlp", "bias"), 9)
    ('layer_9', 'ln_mlp', 'bias')
    """
    block, found, number = path[0].partition("layer_")
    return (f"layer_{int(number) + first_cross}", *path[1:]) if found else path


UMT = Family(
    "UMT", ("umt", "umt-qa"), ("umt_qa", "umt", "umt_retrieval"), "text/type_embedding",
    find_depths, get_depths, list_entries, drop_useless, fit,
)  # fmt: skip
