"""Similarity matrices: checks, and re-weighting by other queries. NumPy only."""

import dataclasses
from typing import Any

import numpy as np

from tempme_jax.checks import require_whole

# Numbers that are handled at once: 64 MiB of float64.
BLOCK = 2**23


@dataclasses.dataclass(frozen=True, eq=False)
class QueryBank:
    """Similarities of training queries with the searched items, for `apply_qb_norm`.

    Attributes:
        texts: float [training texts, videos], scaled like the similarities.
        videos: float [training videos, texts].
    """

    texts: np.ndarray
    videos: np.ndarray


def reweight(scores: np.ndarray, softmax: bool, bank: np.ndarray | None) -> np.ndarray:
    """Return the scores, [queries, gallery], re-weighted for search.

    Args:
        scores: float [queries, gallery].
        softmax: whether to apply the dual softmax.
        bank: float [training queries, gallery], the query bank of QB-Norm; None: not applied.
    """
    if softmax:
        return apply_dual_softmax(scores)
    return scores if bank is None else apply_qb_norm(scores, bank)


def apply_dual_softmax(similarity: np.ndarray, *, inverse_temperature: float = 1.0) -> np.ndarray:
    """Multiply each score by how much the item prefers this query to the others (CAMoE, DSL).

    It is transductive: it needs all test queries at once.

    Args:
        similarity: S, float [queries, gallery], cosine x 100.
        inverse_temperature: 100 if S are plain cosines.

    Returns:
        float64 [queries, gallery], S * softmax(inverse_temperature * S, over queries) * queries.
    """
    weights = np.multiply(similarity, inverse_temperature, dtype=np.float64)
    weights -= weights.max(axis=0)
    np.exp(weights, out=weights)
    weights *= len(weights) / weights.sum(axis=0)
    weights *= similarity
    return weights


def apply_qb_norm(
    similarity: np.ndarray, bank: np.ndarray, *, inverse_temperature: float = 0.2, k: int = 1
) -> np.ndarray:
    """Lower the scores of hubs, items that are close to many training queries (QB-Norm).

    The logarithm of the dynamic inverted softmax: a query whose best item is among the k best of
    some training query gets b * S - log(sum of exp(b * bank)), others keep S. Scores of different
    queries cannot be compared. Items that tie for a best place all have it.

    Args:
        similarity: float [queries, gallery], cosine x 100.
        bank: float [training queries, gallery], likewise.
        inverse_temperature: b; 20 for cosines.
        k: how many best items of a training query count as hubs.

    Returns:
        float64 [queries, gallery].
    """
    bank = check_scores(bank, ("training query", "item"))
    if bank.shape[1] != similarity.shape[1]:
        there = f"a query bank of {bank.shape[1]} items, similarities of {similarity.shape[1]}"
        raise ValueError(f"{there}; both must be of the same, in the same order")
    k = require_whole("k", k, least=1, most=bank.shape[1])
    top, total, hub = bank.max(axis=0).astype(np.float64), 0.0, False
    for rows in list_blocks(bank):
        total += np.exp(inverse_temperature * (bank[rows] - top)).sum(axis=0)
        hub |= (bank[rows] >= np.partition(bank[rows], -k, axis=1)[:, [-k]]).any(axis=0)
    best = similarity == similarity.max(axis=1, keepdims=True)
    changed = (best & hub).any(axis=1)
    scores = similarity.astype(np.float64)
    scores[changed] *= inverse_temperature
    scores[changed] -= inverse_temperature * top + np.log(total)
    return scores


def check_scores(matrix: Any, names: tuple[str, str]) -> np.ndarray:
    """Return a float matrix after checking its shape and that it holds no NaN.

    Args:
        matrix: anything like an array.
        names: what a row and a column stand for, for the error.
    """
    matrix, (row, column) = np.asarray(matrix), names
    if matrix.ndim != 2 or 0 in matrix.shape:
        given = f"similarities of shape {matrix.shape}"
        raise ValueError(f"{given}; expected a row for each {row}, a column for each {column}")
    matrix = matrix.astype(np.promote_types(matrix.dtype, np.float32), copy=False)
    if np.isnan(matrix.max()):
        wrong = np.isnan(matrix)
        first = np.argwhere(wrong)[0]
        rows, columns = wrong.all(axis=1).sum(), wrong.all(axis=0).sum()
        raise ValueError(
            f"the similarity of {row} {first[0]} and {column} {first[1]} is NaN, the first of "
            f"{wrong.sum()} ({rows} whole rows, {columns} whole columns): look at their vectors"
        )
    return matrix


def check_owners(video_of_text: Any, shape: tuple[int, int]) -> np.ndarray:
    """Return the video of each text, int64 [texts], after checking that every index exists."""
    owner = np.asarray(video_of_text)
    if owner.shape != shape[:1] or owner.dtype.kind not in "iu":
        given = f"video_of_text is {owner.dtype}{list(owner.shape)}"
        raise ValueError(f"{given}; expected a whole number for each of the {shape[0]} texts")
    wrong = np.flatnonzero((owner < 0) | (owner >= shape[1]))
    if len(wrong):
        given = f"text {wrong[0]} is of video {owner[wrong[0]]}"
        raise ValueError(f"{given}, but the columns are of videos 0 to {shape[1] - 1}")
    return owner.astype(np.int64)


def list_blocks(matrix: np.ndarray) -> list[slice]:
    """Return the blocks of rows that are handled at once."""
    step = max(1, BLOCK // matrix.shape[1])
    return [slice(start, start + step) for start in range(0, len(matrix), step)]
