"""How texts fit the frames of the windows that are nearest to them."""

from collections.abc import Callable

import numpy as np

from tempme_jax.search.store.frame_codes import FrameScores, compare_frames

# The nearest windows whose frames a search looks at.
NEAREST = 200
# Vectors that are compared at once.
ROWS_AT_ONCE = 8192


def find_nearest_rows(texts: np.ndarray, vectors: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return the rows of the vectors nearest to each text, int64 [m, c], in any order.

    There are `NEAREST` of them, if there are as many vectors.

    Args:
        texts: float32 [m, d].
        vectors: float32 [n, d], which may lie on the disk.
        known: which of them may be returned, bool [n]. If there are fewer, -1 stands for others.
    """
    count = min(NEAREST, len(vectors))
    rows = np.full((len(texts), count), -1)
    best = np.full((len(texts), count), -np.inf, np.float32)
    for start in range(0, len(vectors), ROWS_AT_ONCE):
        part = vectors[start : start + ROWS_AT_ONCE]
        scores = texts @ part.T
        scores[:, ~known[start : start + len(part)] | ~np.isfinite(scores).all(axis=0)] = -np.inf
        numbers = np.broadcast_to(np.arange(start, start + len(part)), scores.shape)
        scores, numbers = np.hstack([best, scores]), np.hstack([rows, numbers])
        order = np.argpartition(-scores, count - 1, axis=1)[:, :count]
        best = np.take_along_axis(scores, order, axis=1)
        rows = np.where(np.isneginf(best), -1, np.take_along_axis(numbers, order, axis=1))
    return rows


def compare_texts(
    texts: np.ndarray,
    nearest: np.ndarray,
    read: Callable[[np.ndarray], np.ndarray],
    frames: int,
) -> FrameScores:
    """Compare each text with the frames of its nearest windows, float32 [m, c, t].

    Args:
        texts: float32 [m, d].
        nearest: what `find_nearest_rows` returned.
        read: returns the `frame_codes` of rows, uint8 [rows, size].
        frames: number of frames of a window.
    """
    shape = (*nearest.shape, frames)
    found = FrameScores(np.zeros(shape, np.float32), np.zeros(shape, np.float32))
    for number, rows in enumerate(nearest):
        if (rows >= 0).any():
            part = compare_frames(texts[number], read(rows[rows >= 0]), frames)
            for whole, some in zip(found, part, strict=True):
                whole[number, rows >= 0] = some
    return found
