"""Merge neighbouring windows that match about as well into one moment. NumPy only."""

import collections
from typing import NamedTuple

import numpy as np

from tempme_jax.search.query.scoring import select_top

# The number of best windows that are looked at: so many per moment, but at least so many.
WINDOWS_A_MOMENT, WINDOWS_AT_LEAST = 20, 200


class Spans(NamedTuple):
    """Spans of time of windows, in order of content and start.

    Attributes:
        contents: int [n], the number of each window's content.
        starts, ends: float [n], seconds from the video's start.
    """

    contents: np.ndarray
    starts: np.ndarray
    ends: np.ndarray

    def select_content(self, content: int) -> slice:
        """Return the rows of a content's windows."""
        first, last = (np.searchsorted(self.contents, content, side) for side in ("left", "right"))
        return slice(int(first), int(last))


class MergedWindows(NamedTuple):
    """Windows of a content that were merged into one span of time.

    Attributes:
        row: the row of the best window.
        start, end: the span, in seconds.
        score: the score of the best window.
    """

    row: int
    start: float
    end: float
    score: float


def count_candidates(count: int) -> int:
    """Return how many windows to look at to find `count` moments."""
    return max(WINDOWS_AT_LEAST, WINDOWS_A_MOMENT * count)


def merge_windows(
    spans: Spans, scores: np.ndarray, count: int, margin: float, most: int | None = None
) -> list[MergedWindows]:
    """Merge windows into the `count` best moments, best first; of equal ones the lower row first.

    The best window begins a moment. Windows of the same content join it as long as they overlap or
    touch the moment and score at most `margin` less than its best window, so a scene of three hours
    is one moment. Windows that overlap the moment but score less are used up without making it
    longer: the neighbours of a match show half of it, and would be found again otherwise. The best
    window that is left begins the next moment. Moments of one content never overlap.

    Args:
        spans: the spans of the n windows.
        scores: float [n]; -inf for windows that are left out.
        count: number of moments; fewer are returned if there are no more.
        margin: how much less than its best window a window of a moment may score.
        most: number of moments of one content; None for any.

    >>> spans = Spans(np.zeros(4, int), np.array([0.0, 6, 12, 60]), np.array([12.0, 18, 24, 72]))
    >>> for one in merge_windows(spans, np.array([0.1, 0.30, 0.29, 0.2]), 2, margin=0.02):
    ...     print(one.start, one.end, one.score)
    6.0 24.0 0.3
    60.0 72.0 0.2
    """
    left, merged = np.array(scores, np.float64), []
    found: collections.Counter[int] = collections.Counter()
    while len(merged) < count:
        rows = select_top(left, count_candidates(count))
        if not len(rows):
            break
        for row in rows:
            if left[row] > -np.inf:
                merged.append(take_moment(spans, left, int(row), margin))
                content = int(spans.contents[row])
                found[content] += 1
                if found[content] == most:
                    left[spans.select_content(content)] = -np.inf
                if len(merged) == count:
                    break
    return merged


def take_moment(spans: Spans, left: np.ndarray, row: int, margin: float) -> MergedWindows:
    """Merge the windows around the best one that is left; set theirs to -inf in `left`."""
    own, score = spans.select_content(spans.contents[row]), float(left[row])
    starts, ends, scores = spans.starts[own], spans.ends[own], left[own]
    near = np.flatnonzero(scores >= score - margin)
    # A gap is where a window starts after all windows before it have ended.
    gaps = starts[near[1:]] > np.maximum.accumulate(ends[near])[:-1]
    scene = np.concatenate([[0], np.cumsum(gaps)])
    members = near[scene == scene[np.searchsorted(near, row - own.start)]]
    start, end = float(starts[members].min()), float(ends[members].max())
    scores[(starts < end) & (ends > start)] = -np.inf
    scores[members] = -np.inf
    return MergedWindows(row, start, end, score)
