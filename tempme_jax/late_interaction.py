"""Late interaction: a text meets the frames of a video, not only their mean.

The score of a text and a video is the sum over its frames of softmax(s / tau + log w) s: s are the
similarities of the text and each frame, w the weights of the frames. With one frame, or as tau
grows, it is the similarity of the text and the video's mean vector. Arrays of NumPy and of JAX go
through the same formula, and JAX is not imported here. See docs/guides/late_interaction.md.
"""

import math
import numbers
from typing import Any, NamedTuple

import numpy as np

# Similarities that are handled at once: 32 MiB of float32.
BLOCK = 2**23
# Temperatures by which float32 can be divided. Far from them scores no longer change.
LEAST_TAU, MOST_TAU = 1e-30, 1e30


class FrameVectors(NamedTuple):
    """Videos, and the frames whose weighted means they are.

    The fields are arrays of NumPy or of JAX.

    Attributes:
        vectors: float32 [b, e], one for each video.
        frames: float32 [b, f, e], one for each frame, in the order of time; their mean, weighted by
            `weights`, is the video's vector, so of a video of unit length they are longer than 1.
        weights: float32 [b, f]; 0 = the frame is not there.
    """

    vectors: Any
    frames: Any
    weights: Any


def require_tau(name: str, tau: Any) -> float:
    """Return a temperature that float32 can divide by; raise a ValueError unless it is above 0.

    >>> require_tau("tau", 1e-50), require_tau("tau", 1e50)
    (1e-30, inf)
    """
    is_number = isinstance(tau, numbers.Real) and not isinstance(tau, bool)
    if not (is_number and float(tau) > 0):
        raise ValueError(
            f"{name}={tau!r} must be a number above 0, such as 0.1; with infinity, late "
            "interaction is the mean"
        )
    return math.inf if float(tau) > MOST_TAU else max(float(tau), LEAST_TAU)


def pool_similarities(similarity: Any, weights: Any, tau: Any) -> tuple[Any, Any]:
    """Return scores [*], and the share of each frame in them [*, f].

    Args:
        similarity: float32 [*, f], similarities of texts and frames.
        weights: float32 [*, f], weights of the frames; 0 = the frame is not there.
        tau: the temperature, above 0; infinity = the weighted mean.

    >>> scores, shares = pool_similarities(np.array([[0.2, 0.4]]), np.ones((1, 2)), 0.1)
    >>> scores.round(3).tolist(), shares.round(3).tolist()
    ([0.376], [[0.119, 0.881]])
    """
    xp = similarity.__array_namespace__()
    there = weights > 0
    top = xp.where(there, similarity, -np.inf).max(axis=-1, keepdims=True)
    # No infinity enters the exponential, or its gradient would be NaN.
    shares = weights * xp.exp(xp.where(there, similarity - top, 0) / tau)
    total = shares.sum(axis=-1, keepdims=True)
    shares = shares / xp.where(total > 0, total, 1)
    return (shares * similarity).sum(axis=-1), shares


def score(text: Any, frames: Any, weights: Any, tau: Any) -> tuple[Any, Any]:
    """Return the scores of all texts and videos [n, m], and the shares of the frames [n, m, f].

    Args:
        text: float32 [n, e], unit vectors.
        frames, weights: float32 [m, f, e] and [m, f], see `FrameVectors`.
        tau: as for `pool_similarities`.
    """
    xp, (m, f) = frames.__array_namespace__(), weights.shape
    options = {} if xp is np else {"precision": "highest"}
    similarity = xp.matmul(text, frames.reshape(m * f, -1).T, **options).reshape(-1, m, f)
    return pool_similarities(similarity, xp.broadcast_to(weights[None], similarity.shape), tau)


def score_in_blocks(text: np.ndarray, video: FrameVectors, tau: float) -> np.ndarray:
    """Return the scores of all texts and videos, float32 [n, m], by NumPy, some videos at once."""
    _, frames, weights = video
    step = max(1, BLOCK // max(1, len(text) * weights.shape[1]))
    scores = np.zeros((len(text), len(weights)), np.float32)
    for start in range(0, len(weights), step):
        rows = slice(start, start + step)
        scores[:, rows] = score(text, frames[rows], weights[rows], tau)[0]
    return scores


def scale_to_unit(video: FrameVectors) -> FrameVectors:
    """Return videos of unit length, their frames scaled alike; zeros stay zeros."""
    xp = video.vectors.__array_namespace__()
    squares = (video.vectors * video.vectors).sum(axis=-1, keepdims=True)
    factor = 1 / xp.sqrt(xp.maximum(squares, 1e-24))
    return FrameVectors(video.vectors * factor, video.frames * factor[:, None], video.weights)
