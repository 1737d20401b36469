"""Rows of windows, of an index with vectors of their frames or without.

On its way from the model to the index, such a window is one row of numbers: its vector, those of
its frames, and their weights.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from tempme_jax.late_interaction import FrameVectors
from tempme_jax.search.store.frame_codes import encode_window
from tempme_jax.search.store.rows import WindowRow, make_window_id


def join_frames(found: FrameVectors) -> Float[np.ndarray, "b n"]:
    """Join the vector of each window, those of its frames, and their weights, to one row."""
    parts = [np.asarray(part, np.float32) for part in found]
    return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)


def make_window_rows(
    header: Mapping[str, Any],
    content: str,
    spans: Sequence[tuple[float, float]],
    vectors: Float[np.ndarray, "w n"],
    thumbnails: Sequence[bytes],
) -> Iterator[WindowRow]:
    """Make the rows of the windows of a content.

    Args:
        header: that of the index. With "per_frame", `vectors` are rows of `join_frames`.
        content: id of the content.
        spans: start and end of each window, in seconds.
        vectors: what the model returned.
        thumbnails: one JPEG file per window.
    """
    count = header["per_frame"]["frames"] if "per_frame" in header else 0
    width = (vectors.shape[1] - count) // (count + 1)
    for number, ((start, end), row, thumbnail) in enumerate(
        zip(spans, vectors, thumbnails, strict=True)
    ):
        name, frames = make_window_id(content, number), b""
        vector, others, weights = np.split(row, [width, len(row) - count])
        if count:
            frames = encode_window(name, others.reshape(count, width), weights)
        yield WindowRow(name, content, start, end, vector, thumbnail, frames=frames)
