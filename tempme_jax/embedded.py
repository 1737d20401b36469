"""What `embed_video`, `embed_image` and `embed_windows` return beside plain vectors."""

import dataclasses
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class SkippedSource(NamedTuple):
    """A video or picture that was skipped.

    Attributes:
        row: its place among those that were given, counted from 0.
        name: its path, or "video 3" for the third of those without one.
        reason: why it was skipped.
    """

    row: int
    name: str
    reason: str


@dataclasses.dataclass(frozen=True, eq=False)
class EmbeddedSources:
    """Vectors of those videos or pictures that could be read, and what became of the others.

    Attributes:
        vectors: float32 [r, e], of unit length.
        rows: int [r], which of those that were given each vector is of, counted from 0.
        skipped: those that have no vector, and why.
    """

    vectors: Float[np.ndarray, "r e"]
    rows: Int[np.ndarray, " r"]
    skipped: tuple[SkippedSource, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class EmbeddedWindows:
    """Vectors of the windows of one video, in their order.

    Attributes:
        vectors: float32 [w, e], of unit length.
        starts, ends: float64 [w], in seconds from the start of the video.
    """

    vectors: Float[np.ndarray, "w e"]
    starts: Float[np.ndarray, " w"]
    ends: Float[np.ndarray, " w"]
