"""How well a video fits a query over its time: a line of scores."""

import numpy as np

from tempme_jax.search.query.results import ScoreLine
from tempme_jax.search.query.scoring import UnrelatedScores
from tempme_jax.search.query.verdicts import LEAST_POSSIBLE, LEAST_STRONG

# Most values of a line, and most for each window: neighbours overlap.
VALUES, VALUES_A_WINDOW = 120, 4
# Percentile of the score at which a line is drawn lowest.
LOWEST = 5.0


def make_line(
    file_id: str, seconds: float, starts: np.ndarray, ends: np.ndarray, scores: np.ndarray
) -> ScoreLine:
    """Cut the time of a video into equal parts, and take the best score in each.

    Args:
        file_id: id of the video.
        seconds: its length; windows may reach beyond.
        starts, ends: float [n], the times of its windows in seconds.
        scores: float [n], their scores; those that are not finite are left out.

    >>> make_line("ab", 8.0, np.array([0, 2]), np.array([4, 6]), np.array([0.1, 0.3])).scores
    (0.1, 0.1, 0.3, 0.3, 0.3, 0.3, None, None)
    """
    known = np.isfinite(scores)
    starts, ends, scores = starts[known], ends[known], scores[known]
    length = float(max(seconds, ends.max(initial=0.0)))
    count = min(VALUES, VALUES_A_WINDOW * len(scores))
    if not count or length <= 0:
        return ScoreLine(file_id=file_id, seconds=max(length, 0.0), scores=())
    first = np.clip(np.floor(starts / length * count + 1e-6).astype(int), 0, count - 1)
    last = np.clip(np.ceil(ends / length * count - 1e-6).astype(int) - 1, first, count - 1)
    best = np.full(count, -np.inf)
    for step in range(int((last - first).max()) + 1):
        np.maximum.at(best, np.minimum(first + step, last), scores)
    values = (None if value == -np.inf else round(value, 4) for value in best.tolist())
    return ScoreLine(file_id=file_id, seconds=length, scores=tuple(values))


def find_levels(unrelated: UnrelatedScores) -> tuple[float, float, float] | None:
    """Return the scores that lines are drawn by, see `Results.levels`; None if unknown."""
    levels = unrelated.compute_levels(LOWEST, LEAST_POSSIBLE, LEAST_STRONG)
    return None if levels is None else (levels[0], levels[1], levels[2])
