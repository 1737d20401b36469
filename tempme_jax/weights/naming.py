"""Bring the names of a file's arrays into the form that the layouts expect.

Training frameworks put a prefix before every name, open_clip's `custom_text` puts one before those
of the text tower, and some files hold buffers that follow from the architecture.
"""

import re
from collections.abc import Iterable, Sequence

import numpy as np

from tempme_jax.weights.errors import WeightsError

Arrays = dict[str, np.ndarray]

PUBLISHED_PREFIX = "clip."
UMT_PATCHES = "vision_encoder.encoder.patch_embed.proj.weight"
# The array by which a layout is recognised.
MARKS = {
    "tempme_jax": "video/patches/kernel",
    "published": PUBLISHED_PREFIX + "visual.conv1.weight",
    "openai": "visual.conv1.weight",
    "siglip": "vision_model.head.probe",
    "huggingface": "vision_model.embeddings.patch_embedding.weight",
    "umt_qa": UMT_PATCHES,
    "umt": UMT_PATCHES,
    "umt_retrieval": UMT_PATCHES,
}
# A second one, where the first does not tell.
TEXT_MARKS = {
    "umt_qa": "text_decoder.bert.embeddings.word_embeddings.weight",
    "umt": "text_encoder.bert.embeddings.word_embeddings.weight",
    "umt_retrieval": "text_encoder.embeddings.word_embeddings.weight",
}
# What DataParallel, torch.compile, Lightning and others put before every name, in any order.
PREFIXES = ("module", "_orig_mod", "model", "clip_model", "net", "network", "clip", "backbone")
# Arrays that some files hold beside the weights. They follow from the architecture, and a bias of
# all logits changes no rank. SigLIP's belongs to its loss.
LOGIT_BIAS = "logit_bias"
NOT_WEIGHTS = ("input_resolution", "context_length", "vocab_size", LOGIT_BIAS)
OF_SIGLIP = (MARKS["siglip"], "video/head/probe")
CUSTOM_TEXT = "text."
IN_CUSTOM_TEXT = ("token_embedding.weight", "positional_embedding", "text_projection")
# Of a mask that is added to the attention: from here on down, nothing is seen.
HIDDEN = -1e3


def tidy_names(arrays: Arrays, leave_out: Sequence[str] = ()) -> Arrays:
    """Return the arrays by the names that a layout expects, without those that are no weights.

    Args:
        arrays: arrays by the names in a file.
        leave_out: names, or beginnings of names before a dot, of arrays that are not read.

    Raises:
        WeightsError: if there is nothing to leave out, or a mask or positions are not CLIP's.
    """
    arrays = remove_prefix(arrays)
    for name in leave_out:
        kept = {n: a for n, a in arrays.items() if n != name and not n.startswith(f"{name}.")}
        if len(kept) == len(arrays):
            raise WeightsError(
                f"there is no array {name!r} to leave out; there are {list_starts(arrays)}"
            )
        arrays = kept
    start = PUBLISHED_PREFIX if MARKS["published"] in arrays else ""
    custom = start + CUSTOM_TEXT
    if all(custom + name in arrays and start + name not in arrays for name in IN_CUSTOM_TEXT):
        arrays = {
            start + n.removeprefix(custom) if n.startswith(custom) else n: a
            for n, a in arrays.items()
        }
    kept = {LOGIT_BIAS} if any(mark in arrays for mark in OF_SIGLIP) else set()
    return {n: a for n, a in arrays.items() if n in kept or is_weight(n.removeprefix(start), a)}


def remove_prefix(arrays: Arrays) -> Arrays:
    """Return the arrays without the prefix that stands before the array that marks a layout.

    Names without the prefix stay as they are.
    """
    if any(mark in arrays for mark in MARKS.values()):
        return arrays
    prefixes = find_prefixes(arrays)
    shared = [p for p in prefixes if all(name.startswith(p) for name in arrays)]
    known = [p for p in prefixes if all(part in PREFIXES for part in p.split(".")[:-1])]
    for prefix in (shared or known)[:1] if len(known) <= 1 or shared else []:
        short = {n.removeprefix(prefix): a for n, a in arrays.items()}
        return short if len(short) == len(arrays) else arrays
    return arrays


def find_prefixes(names: Iterable[str]) -> list[str]:
    """List what stands before the marks of layouts; a `clip.` right before one belongs to it."""
    found = {}
    for layout in ("published", "openai", "huggingface", "umt"):
        mark = MARKS[layout]
        for name in names:
            if name.endswith("." + mark):
                found.setdefault(name.removesuffix(MARKS["openai"]), name.removesuffix(mark))
    return sorted(set(found.values()))


def is_weight(name: str, array: np.ndarray) -> bool:
    """Return whether an array is one of a network's weights.

    Raises:
        WeightsError: if it is a mask or a list of positions that CLIP does not have.
    """
    if name in NOT_WEIGHTS:
        return False
    last = name.rpartition(".")[2]
    if last == "attn_mask":
        if name.startswith(("visual.", "vision_model.")):
            raise WeightsError(f"{name} is a mask in the video tower, where a CLIP has none")
        if not may_be_causal(array):
            raise WeightsError(
                f"{name} is not the mask of a CLIP, in whose text tower a token sees only itself "
                "and those before it"
            )
        return False
    if last == "position_ids" and ".embeddings." in name:
        count = array.size
        if not np.allclose(np.asarray(array, np.float64).ravel(), np.arange(count), rtol=0.01):
            raise WeightsError(f"{name} is not 0 .. {count - 1}, as every CLIP has it")
        return False
    return True


def may_be_causal(mask: np.ndarray) -> bool:
    """Return whether a mask is the causal one, or holds no rule at all.

    CLIP makes the mask anew from its rule, so what the file holds is only a sign of another rule. A
    mask that hides anything must hide all tokens behind each, and add 0 to all others. One of small
    numbers that are not all 0 was never filled in.
    """
    if mask.ndim == 3 and len(mask) == 1:
        mask = mask[0]
    if mask.ndim != 2 or mask.shape[0] != mask.shape[1] or mask.dtype.kind not in "fV":
        return False
    values = np.asarray(mask, np.float32)
    before = np.tri(len(values), dtype=bool)
    if (values <= HIDDEN).any():
        return bool((values[before] == 0).all() and (values[~before] <= HIDDEN).all())
    return bool((np.abs(values) <= 1).all() and (len(values) == 1 or values.any()))


def list_starts(names: Iterable[str], most: int = 8) -> str:
    """List the first parts of names, such as "visual" of "visual.proj"."""
    starts = sorted({re.split(r"[./]", name)[0] for name in names})
    return ", ".join(map(repr, starts[:most])) + (", ..." if len(starts) > most else "")
