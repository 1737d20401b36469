"""Retrieval metrics: ranks, recalls and their confidence intervals. NumPy only.

Rows of a similarity matrix are texts, columns are videos. A text looks for its one video. A video
looks for its captions, of which the best counts, so that its other captions are no rivals: they
neither push it down nor tie with it. Videos without a caption are found or not, but look for none.

A query ranks 1 + the number of larger scores + what its tie rule says of the equal ones of others:

* `average`: half of them. A model that gives all pairs the same score gets no credit.
* `optimistic`: none. `pessimistic`: all.
* `clip4clip`: a query with n equal others has n + 1 ranks, from the optimistic to the pessimistic,
  and means are over all ranks. So do CLIP4Clip, TempMe and DGL, with one caption per video.

No number depends on the order of the rows and columns.
"""

import dataclasses
from typing import Any

import numpy as np

from tempme_jax.checks import require_one_of, require_whole

TIES = ("average", "optimistic", "pessimistic", "clip4clip")
RECALLS = (1, 5, 10)
MEASURES = ("R@1", "R@5", "R@10", "R-Sum", "MdR", "MnR")
# Numbers that are handled at once: 64 MiB of float64.
BLOCK = 2**23


@dataclasses.dataclass(frozen=True)
class Bootstrap:
    """Percentile intervals over queries that are drawn with replacement.

    Captions of one video are drawn as if they were independent, which they are not: with several
    per video the intervals from text to video are too narrow.

    Attributes:
        draws: how often as many queries as there are get drawn.
        level: the share of the draws within the interval.
        seed: of the draws.
    """

    draws: int = 1000
    level: float = 0.95
    seed: int = 0


@dataclasses.dataclass(frozen=True, eq=False)
class QueryBank:
    """Similarities of training queries with what is searched, for `qb_norm`.

    Attributes:
        texts: float [training texts, videos], in the unit of the similarities.
        videos: float [training videos, texts].
    """

    texts: np.ndarray
    videos: np.ndarray


def retrieval_metrics(
    similarity: Any,
    video_of_text: Any,
    *,
    ties: str = "average",
    intervals: Bootstrap | None = Bootstrap(),  # noqa: B008 (frozen)
    dual_softmax: bool = False,
    bank: QueryBank | None = None,
) -> dict[str, Any]:
    """Measures in both directions, in the form of `results.json`.

    Args:
        similarity: float [texts, videos]; larger = more alike.
        video_of_text: int [texts], the column of the video that each text describes.
        ties: a name of `TIES`.
        intervals: how confidence intervals are drawn; None = there are none.
        dual_softmax: whether to re-weight by `dual_softmax`; `similarity` is then cosine x 100.
        bank: for re-weighting by `qb_norm`; `similarity` is then cosine x 100.

    Returns:
        "protocol": "ties", "dual_softmax", "qb_norm", and "notes": what else the scores were made
        of than a query and the videos; "text_to_video" and "video_to_text": R@1, R@5, R@10 and
        R-Sum in percent, MdR and MnR (median and mean rank), and "intervals": [low, high] of each.

    Raises:
        ValueError: for NaN, saying where; for shapes or indices that do not fit.
    """
    scores = checked(similarity, ("text", "video"))
    owner = checked_owner(video_of_text, scores.shape)
    protocol = protocol_of(ties, dual_softmax, bank)
    to_video = text_counts(reweighted(scores, "video", dual_softmax, bank), owner)
    to_text = video_counts(reweighted(scores, "text", dual_softmax, bank), owner)
    return {
        "protocol": protocol,
        "text_to_video": summary(*ranks(*to_video, ties), intervals),
        "video_to_text": summary(*ranks(*to_text, ties), intervals),
    }


def protocol_of(ties: str, softmax: bool, bank: QueryBank | None) -> dict[str, Any]:
    """By which rules the measures are taken."""
    notes = ["transductive: dual softmax over all test queries"] if softmax else []
    if bank is not None:
        notes.append(f"query bank: {len(bank.texts)} training texts, {len(bank.videos)} videos")
    if len(notes) > 1:
        raise ValueError("choose one of dual_softmax and a query bank; both were given")
    require_one_of(ties, TIES, "rule for ties")
    return {"ties": ties, "dual_softmax": softmax, "qb_norm": bank is not None, "notes": notes}


def reweighted(scores: np.ndarray, to: str, softmax: bool, bank: QueryBank | None) -> np.ndarray:
    """Scores [texts, videos] for the direction to "video" or to "text"."""
    if softmax:
        return dual_softmax(scores) if to == "video" else dual_softmax(scores.T).T
    if bank is not None:
        return qb_norm(scores, bank.texts) if to == "video" else qb_norm(scores.T, bank.videos).T
    return scores


def text_counts(scores: np.ndarray, owner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many videos each text scores above its own, and how many others the same: int [texts]."""
    own = scores[np.arange(len(owner)), owner]
    larger, equal = np.empty((2, len(owner)), np.int64)
    for rows in blocks(scores):
        larger[rows] = np.count_nonzero(scores[rows] > own[rows, None], axis=1)
        equal[rows] = np.count_nonzero(scores[rows] == own[rows, None], axis=1) - 1
    return larger, equal


def video_counts(scores: np.ndarray, owner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many texts each video scores above its best caption, and how many of other videos the
    same: int [videos with a caption]."""
    videos = scores.shape[1]
    own = scores[np.arange(len(owner)), owner]
    best = np.full(videos, -np.inf, scores.dtype)
    np.maximum.at(best, owner, own)
    larger, equal = np.zeros((2, videos), np.int64)
    for rows in blocks(scores):
        larger += np.count_nonzero(scores[rows] > best, axis=0)
        equal += np.count_nonzero(scores[rows] == best, axis=0)
    equal -= np.bincount(owner[own == best[owner]], minlength=videos)
    captioned = np.unique(owner)
    return larger[captioned], equal[captioned]


def ranks(larger: np.ndarray, equal: np.ndarray, ties: str) -> tuple[np.ndarray, np.ndarray]:
    """The first rank of every query, and how many it has: first, first + 1, ... (float64)."""
    if ties == "clip4clip":
        return 1.0 + larger, 1.0 + equal
    share = {"average": 0.5, "optimistic": 0.0, "pessimistic": 1.0}[ties]
    return 1.0 + larger + share * equal, np.ones(len(larger))


def summary(first: np.ndarray, size: np.ndarray, intervals: Bootstrap | None) -> dict[str, Any]:
    """The measures of some queries' ranks, and their intervals."""
    # Queries of the same ranks are interchangeable: only how many there are of each kind is drawn.
    kinds, counts = np.unique(np.stack([first, size], axis=1), axis=0, return_counts=True)
    first, size = kinds.T
    point = {name: float(value[0]) for name, value in measures(counts[None], first, size).items()}
    if intervals is None:
        return point | {"intervals": {}}
    draws = require_whole("draws", intervals.draws, least=1)
    rng = np.random.default_rng(intervals.seed)
    total, step = int(counts.sum()), max(1, BLOCK // len(counts))
    drawn = [
        measures(rng.multinomial(total, counts / total, min(step, draws - done)), first, size)
        for done in range(0, draws, step)
    ]
    tail = 50 * (1 - intervals.level)
    values = {name: np.concatenate([part[name] for part in drawn]) for name in MEASURES}
    between = {name: np.percentile(values[name], [tail, 100 - tail]).tolist() for name in MEASURES}
    return point | {"intervals": between}


def measures(counts: np.ndarray, first: np.ndarray, size: np.ndarray) -> dict[str, np.ndarray]:
    """The measures of each row of `counts` [draws, kinds]: how many queries are of each kind."""
    counts = counts.astype(np.float64)
    total = counts @ size
    result = {
        f"R@{k}": 100 * (counts @ np.clip(np.floor(k - first) + 1, 0, size)) / total
        for k in RECALLS
    }
    result["R-Sum"] = sum(result.values())
    result["MdR"] = medians(counts, first, size)
    result["MnR"] = counts @ (size * first + size * (size - 1) / 2) / total
    return result


def medians(counts: np.ndarray, first: np.ndarray, size: np.ndarray) -> np.ndarray:
    """The median rank of each row of `counts`: of an even number the mean of the middle two."""
    values, weights = first, counts
    if size.max() > 1:
        # Of every rank: how many queries' ranks have begun, less those whose ranks are over.
        values = np.arange(first.min(), (first + size).max())
        order = np.argsort(first + size)
        begun = np.searchsorted(first, values, "right")
        over = np.searchsorted((first + size)[order], values, "right")
        weights = upto(counts)[:, begun] - upto(counts[:, order])[:, over]
    half = weights.sum(axis=1, keepdims=True) / 2
    reached = upto(weights)[:, 1:]
    lower = np.argmax(reached >= np.ceil(half), axis=1)
    upper = np.argmax(reached >= np.floor(half) + 1, axis=1)
    return (values[lower] + values[upper]) / 2


def upto(counts: np.ndarray) -> np.ndarray:
    """Sums of the first 0, 1, ... of each row."""
    return np.pad(np.cumsum(counts, axis=1), ((0, 0), (1, 0)))


def dual_softmax(similarity: np.ndarray, *, inverse_temperature: float = 1.0) -> np.ndarray:
    """Each score times how much the searched item prefers this query among all (CAMoE, DSL).

    S * softmax(inverse_temperature * S, over the queries) * queries, float64 [queries, gallery], of
    the similarities S of that shape: cosine x 100 (of cosines: inverse temperature 100).
    Transductive: it needs all test queries at once.
    """
    weights = np.multiply(similarity, inverse_temperature, dtype=np.float64)
    weights -= weights.max(axis=0)
    np.exp(weights, out=weights)
    weights *= len(weights) / weights.sum(axis=0)
    weights *= similarity
    return weights


def qb_norm(
    similarity: np.ndarray, bank: np.ndarray, *, inverse_temperature: float = 0.2, k: int = 1
) -> np.ndarray:
    """Scores with the pull of hubs taken off, as training queries show it (QB-Norm).

    The dynamic inverted softmax, as its logarithm: a query whose best item is among the k best of
    some training query gets b * S - log(sum of exp(b * bank)), others keep S. Scores of different
    queries do not compare. Where items tie for a best place, all of them have it.

    Args:
        similarity: float [queries, gallery], cosine x 100.
        bank: float [training queries, gallery], likewise.
        inverse_temperature: b; 20 for cosines.
        k: how many items of a training query count as hubs.

    Returns:
        float64 [queries, gallery].
    """
    bank = checked(bank, ("training query", "item"))
    if bank.shape[1] != similarity.shape[1]:
        there = f"a query bank of {bank.shape[1]} items, similarities of {similarity.shape[1]}"
        raise ValueError(f"{there}; both must be of the same, in the same order")
    k = require_whole("k", k, least=1, most=bank.shape[1])
    top, total, hub = bank.max(axis=0).astype(np.float64), 0.0, False
    for rows in blocks(bank):
        total += np.exp(inverse_temperature * (bank[rows] - top)).sum(axis=0)
        hub |= (bank[rows] >= np.partition(bank[rows], -k, axis=1)[:, [-k]]).any(axis=0)
    best = similarity == similarity.max(axis=1, keepdims=True)
    changed = (best & hub).any(axis=1)
    scores = similarity.astype(np.float64)
    scores[changed] *= inverse_temperature
    scores[changed] -= inverse_temperature * top + np.log(total)
    return scores


def blocks(matrix: np.ndarray) -> list[slice]:
    """Rows that are handled at once."""
    step = max(1, BLOCK // matrix.shape[1])
    return [slice(start, start + step) for start in range(0, len(matrix), step)]


def checked(matrix: Any, names: tuple[str, str]) -> np.ndarray:
    """A float matrix without NaN; `names` are what a row and a column are, for the error."""
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


def checked_owner(video_of_text: Any, shape: tuple[int, int]) -> np.ndarray:
    """The video of each text, as indices that are there."""
    owner = np.asarray(video_of_text)
    if owner.shape != shape[:1] or owner.dtype.kind not in "iu":
        given = f"video_of_text is {owner.dtype}{list(owner.shape)}"
        raise ValueError(f"{given}; expected a whole number for each of the {shape[0]} texts")
    wrong = np.flatnonzero((owner < 0) | (owner >= shape[1]))
    if len(wrong):
        given = f"text {wrong[0]} is of video {owner[wrong[0]]}"
        raise ValueError(f"{given}, but the columns are of videos 0 to {shape[1] - 1}")
    return owner.astype(np.int64)
