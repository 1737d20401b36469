"""Which ids of rows are text, for callers who do not say it."""

import numpy as np
from jaxtyping import Bool, Int


def mark_to_end(ids: Int[np.ndarray, "b n"]) -> Bool[np.ndarray, "b n"]:
    """Mark the ids up to the largest one, which ends a text of CLIP.

    >>> mark_to_end(np.array([[8, 3, 9, 0]])).tolist()
    [[True, True, True, False]]
    """
    return np.arange(ids.shape[1]) <= ids.argmax(axis=1, keepdims=True)


def mark_to_padding(ids: Int[np.ndarray, "b n"]) -> Bool[np.ndarray, "b n"]:
    """Mark the ids that are not padding, which is 0 for UMT and SigLIP 2.

    >>> mark_to_padding(np.array([[8, 3, 9, 0]])).tolist()
    [[True, True, True, False]]
    """
    return ids != 0


def mark_to_ends(ids: Int[np.ndarray, "b n"]) -> Bool[np.ndarray, "b n"]:
    """Mark the ids that are not 1, by which SigLIP ends a text and fills it up.

    >>> mark_to_ends(np.array([[8, 3, 1, 1]])).tolist()
    [[True, True, False, False]]
    """
    return ids != 1


# By the name of the backbone.
MARKERS = {
    "clip": mark_to_end, "umt": mark_to_padding, "umt-qa": mark_to_padding,
    "siglip": mark_to_ends, "siglip2": mark_to_padding,
}  # fmt: skip
