"""Retrieval metrics: ranks, recalls and their confidence intervals. NumPy only.

Rows of a similarity matrix are texts, columns are videos. A text looks for its one video. A video
looks for its captions, of which the best counts, so its other captions are not rivals: they neither
push it down nor tie with it. Its rivals are all captions of other videos, or, as in the code of
CLIP4Clip for MSVD, only the best one of each other video; that makes a difference where videos have
several. Videos without a caption are candidates, but not queries.

A query's rank is 1 + the number of larger scores + a part of the equal scores, by the tie rule:

* `average`: half of them. A model that gives all pairs the same score gets no credit.
* `optimistic`: none of them. `pessimistic`: all of them.
* `clip4clip`: a query with n equal others has n + 1 ranks, from the optimistic to the pessimistic,
  and means are over all ranks. This is what the code of CLIP4Clip, TempMe and DGL does if every
  video has one caption.

No number depends on the order of the rows and columns.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np

from tempme_jax.checks import require_one_of, require_whole
from tempme_jax.training.similarity import (
    BLOCK,
    QueryBank,
    check_owners,
    check_scores,
    list_blocks,
    reweight,
)

Ties = Literal["average", "optimistic", "pessimistic", "clip4clip"]
Rivals = Literal["captions", "videos"]
RECALLS = (1, 5, 10)
MEASURES = ("R@1", "R@5", "R@10", "R-Sum", "MdR", "MnR")


@dataclasses.dataclass(frozen=True)
class Bootstrap:
    """Percentile intervals over queries that are drawn with replacement.

    Captions of one video are drawn as if they were independent, which they are not: if videos have
    several, the intervals from text to video are too narrow.

    Attributes:
        draws: number of draws; each has as many queries as there are.
        level: the share of the draws within the interval.
        seed: seed of the draws.
    """

    draws: int
    level: float = 0.95
    seed: int = 0


def measure_retrieval(
    similarity: Any,
    video_of_text: Any,
    *,
    ties: Ties,
    intervals: Bootstrap | None = None,
    dual_softmax: bool = False,
    bank: QueryBank | None = None,
    for_videos: Any = None,
    rivals: Rivals = "captions",
    negatives: Mapping[str, np.ndarray] | None = None,
) -> dict[str, Any]:
    """Measure retrieval in both directions, in the form of `results.json`.

    >>> measured = measure_retrieval([[0.9, 0.1], [0.8, 0.2]], [0, 1], ties="average")
    >>> measured["text_to_video"]["R@1"], measured["text_to_video"]["MnR"]
    (50.0, 1.5)

    Args:
        similarity: float [texts, videos]; larger = more alike.
        video_of_text: int [texts], the column of the video that each text describes.
        ties: the rule for equal scores, see above.
        intervals: how to draw confidence intervals; None: there are none.
        dual_softmax: whether to apply `apply_dual_softmax`; `similarity` must be cosine x 100.
        bank: the queries for `apply_qb_norm`; `similarity` must be cosine x 100.
        for_videos: the similarities by which videos rank texts, if they are others; likewise float
            [texts, videos].
        rivals: what a video's caption is ranked among: all "captions" of other videos, or the best
            caption of each of these "videos".
        negatives: for each kind of hard negative the column of the video, of that kind, that each
            text should score below its own, int [texts]; -1 for none.

    Returns:
        "protocol": "ties", "dual_softmax", "qb_norm", "rivals", and "notes" on scores that depend
        on more than one query and the videos; "text_to_video" and "video_to_text": R@1, R@5, R@10
        and R-Sum in percent, MdR and MnR (median and mean rank), and "intervals": [low, high] of
        each. With negatives also "negatives", see `compare_with_negatives`.

    Raises:
        ValueError: if a similarity is NaN, or shapes or indices do not fit.
    """
    scores = check_scores(similarity, ("text", "video"))
    owner = check_owners(video_of_text, scores.shape)
    protocol = check_protocol(ties, dual_softmax, bank)
    protocol["rivals"] = require_one_of(rivals, get_args(Rivals), "rivals of a video's captions")
    of_texts = reweight(scores, dual_softmax, bank and bank.texts)
    to_video = count_rivals_of_texts(of_texts, owner)
    compared = compare_with_negatives(of_texts, owner, negatives or {})
    of_videos = scores if for_videos is None else check_scores(for_videos, ("text", "video"))
    of_videos = reweight(of_videos.T, dual_softmax, bank and bank.videos).T
    if rivals == "videos":
        of_videos, owner = take_best_captions(of_videos, owner)
    to_text = count_rivals_of_videos(of_videos, owner)
    return {
        "protocol": protocol,
        "text_to_video": measure_ranks(*compute_ranks(*to_video, ties), intervals),
        "video_to_text": measure_ranks(*compute_ranks(*to_text, ties), intervals),
        **({"negatives": compared} if compared else {}),
    }


def check_protocol(ties: Ties, softmax: bool, bank: QueryBank | None) -> dict[str, Any]:
    """Return the protocol for `results.json`; raise a ValueError if it is contradictory."""
    notes = ["transductive: dual softmax over all test queries"] if softmax else []
    if bank is not None:
        notes.append(f"query bank: {len(bank.texts)} training texts, {len(bank.videos)} videos")
    if len(notes) > 1:
        raise ValueError("choose one of dual_softmax and a query bank; both were given")
    require_one_of(ties, get_args(Ties), "rule for ties")
    return {"ties": ties, "dual_softmax": softmax, "qb_norm": bank is not None, "notes": notes}


def count_rivals_of_texts(scores: np.ndarray, owner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Count the videos that each text scores above its own, and equal to it: int [texts]."""
    own = scores[np.arange(len(owner)), owner]
    larger, equal = np.empty((2, len(owner)), np.int64)
    for rows in list_blocks(scores):
        larger[rows] = np.count_nonzero(scores[rows] > own[rows, None], axis=1)
        equal[rows] = np.count_nonzero(scores[rows] == own[rows, None], axis=1) - 1
    return larger, equal


def compare_with_negatives(
    scores: np.ndarray, owner: np.ndarray, negatives: Mapping[str, np.ndarray]
) -> dict[str, dict[str, float]]:
    """Count how often texts score their own video above a hard negative of each kind.

    Args:
        scores: float [texts, videos].
        owner: int [texts], the video of each text.
        negatives: the negative of each text by kinds, int [texts]; -1 for none.

    Returns:
        For each kind: "texts" that have such a negative, and "accuracy", how many of them score
        their own video higher, in percent; one that scores both alike counts half, so a guess has
        50.

    >>> scores = np.array([[0.9, 0.1], [0.8, 0.2]])
    >>> compare_with_negatives(scores, np.array([0, 1]), {"order": np.array([1, 0])})
    {'order': {'texts': 2, 'accuracy': 50.0}}
    """
    found = {}
    for kind, columns in negatives.items():
        rows = np.flatnonzero(columns >= 0)
        if not len(rows):
            continue
        own, other = scores[rows, owner[rows]], scores[rows, columns[rows]]
        accuracy = 100 * np.mean((own > other) + 0.5 * (own == other))
        found[kind] = {"texts": len(rows), "accuracy": float(accuracy)}
    return found


def take_best_captions(scores: np.ndarray, owner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the best scores of the captions of each video, and its number.

    Returns:
        float [videos with a caption, videos], and int [videos with a caption].
    """
    order = np.argsort(owner, kind="stable")
    captioned, starts = np.unique(owner[order], return_index=True)
    is_ordered = bool((np.diff(owner) >= 0).all())
    return np.maximum.reduceat(scores if is_ordered else scores[order], starts), captioned


def count_rivals_of_videos(scores: np.ndarray, owner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Count the texts that each video scores above its best caption, and others scored equal.

    Both are int [videos with a caption]; captions of the same video do not count.
    """
    videos = scores.shape[1]
    own = scores[np.arange(len(owner)), owner]
    best = np.full(videos, -np.inf, scores.dtype)
    np.maximum.at(best, owner, own)
    larger, equal = np.zeros((2, videos), np.int64)
    for rows in list_blocks(scores):
        larger += np.count_nonzero(scores[rows] > best, axis=0)
        equal += np.count_nonzero(scores[rows] == best, axis=0)
    equal -= np.bincount(owner[own == best[owner]], minlength=videos)
    captioned = np.unique(owner)
    return larger[captioned], equal[captioned]


def compute_ranks(
    larger: np.ndarray, equal: np.ndarray, ties: Ties
) -> tuple[np.ndarray, np.ndarray]:
    """Return the first rank of every query, and how many ranks it has, float64."""
    if ties == "clip4clip":
        return 1.0 + larger, 1.0 + equal
    share = 0.5 if ties == "average" else float(ties == "pessimistic")
    return 1.0 + larger + share * equal, np.ones(len(larger))


def measure_ranks(
    first: np.ndarray, size: np.ndarray, intervals: Bootstrap | None
) -> dict[str, Any]:
    """Return the measures of queries with these ranks, and their intervals."""
    # Queries with the same ranks are interchangeable: it is enough to draw how many of each kind.
    kinds, counts = np.unique(np.stack([first, size], axis=1), axis=0, return_counts=True)
    first, size = kinds.T
    measured = compute_measures(counts[None], first, size)
    point = {name: float(value[0]) for name, value in measured.items()}
    if intervals is None:
        return point | {"intervals": {}}
    draws = require_whole("draws", intervals.draws, least=1)
    rng = np.random.default_rng(intervals.seed)
    total, step = int(counts.sum()), max(1, BLOCK // len(counts))
    drawn = [
        compute_measures(
            rng.multinomial(total, counts / total, min(step, draws - done)), first, size
        )
        for done in range(0, draws, step)
    ]
    tail = 50 * (1 - intervals.level)
    values = {name: np.concatenate([part[name] for part in drawn]) for name in MEASURES}
    between = {name: np.percentile(values[name], [tail, 100 - tail]).tolist() for name in MEASURES}
    return point | {"intervals": between}


def compute_measures(
    counts: np.ndarray, first: np.ndarray, size: np.ndarray
) -> dict[str, np.ndarray]:
    """Compute the measures of each row of `counts` [draws, kinds], numbers of queries of a kind."""
    counts = counts.astype(np.float64)
    total = counts @ size
    result = {
        f"R@{k}": 100 * (counts @ np.clip(np.floor(k - first) + 1, 0, size)) / total
        for k in RECALLS
    }
    result["R-Sum"] = np.sum(list(result.values()), axis=0)
    result["MdR"] = compute_medians(counts, first, size)
    result["MnR"] = counts @ (size * first + size * (size - 1) / 2) / total
    return result


def compute_medians(counts: np.ndarray, first: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Compute the median rank of each row of `counts`; of an even number the mean of the two."""
    values, weights = first, counts
    if size.max() > 1:
        # The weight of a rank: the queries whose ranks have begun, less those whose ranks are over.
        values = np.arange(first.min(), (first + size).max())
        order = np.argsort(first + size)
        begun = np.searchsorted(first, values, "right")
        over = np.searchsorted((first + size)[order], values, "right")
        weights = accumulate(counts)[:, begun] - accumulate(counts[:, order])[:, over]
    half = weights.sum(axis=1, keepdims=True) / 2
    reached = accumulate(weights)[:, 1:]
    lower = np.argmax(reached >= np.ceil(half), axis=1)
    upper = np.argmax(reached >= np.floor(half) + 1, axis=1)
    return (values[lower] + values[upper]) / 2


def accumulate(counts: np.ndarray) -> np.ndarray:
    """Return the sums of the first 0, 1, ... numbers of each row."""
    return np.pad(np.cumsum(counts, axis=1), ((0, 0), (1, 0)))
