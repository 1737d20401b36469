"""Windows that show one thing become one moment. NumPy only."""

from typing import NamedTuple

import numpy as np

from tempme_jax.search.query.scoring import top

# How many of the best windows are looked at: so many for each moment, but this many at least.
WINDOWS_A_MOMENT, WINDOWS_AT_LEAST = 20, 200


class Spans(NamedTuple):
    """Windows as spans of time, in order of content and start.

    Attributes:
        contents: int [n], the number of the content.
        starts, ends: float [n], seconds.
    """

    contents: np.ndarray
    starts: np.ndarray
    ends: np.ndarray

    def of(self, content: int) -> slice:
        """The windows of a content."""
        first, last = (np.searchsorted(self.contents, content, side) for side in ("left", "right"))
        return slice(int(first), int(last))


class Merged(NamedTuple):
    """A span of a content, and its best window.

    Attributes:
        row: of the best window.
        start, end: seconds.
        score: of the best window.
    """

    row: int
    start: float
    end: float
    score: float


def to_look_at(count: int) -> int:
    """How many windows to look at for so many moments."""
    return max(WINDOWS_AT_LEAST, WINDOWS_A_MOMENT * count)


def merge(spans: Spans, scores: np.ndarray, count: int, margin: float) -> list[Merged]:
    """The best moments that windows make, best first; of equal ones that of the lower row.

    The best window begins a moment. Windows of its content join, as long as they overlap or touch
    the moment and score at most `margin` less than its best: so a scene of three hours is one
    moment. Windows that overlap the moment but score less are part of it, without making it
    longer: so the neighbours of a match, which show half of it, are no matches of their own. The
    best window that is left begins the next moment. Moments of a content never overlap.

    Args:
        spans: of the windows.
        scores: float [n]; -inf for windows that are left out.
        count: how many moments; fewer come if there are no more.
        margin: see above; in the unit of the scores.
    """
    left, found = np.array(scores, np.float64), []
    while len(found) < count:
        rows = top(left, to_look_at(count))
        if not len(rows):
            break
        for row in rows:
            if left[row] > -np.inf:
                found.append(take(spans, left, int(row), margin))
                if len(found) == count:
                    break
    return found


def take(spans: Spans, left: np.ndarray, row: int, margin: float) -> Merged:
    """The moment around the best window that is left; its windows become -inf in `left`."""
    own, score = spans.of(spans.contents[row]), float(left[row])
    starts, ends, scores = spans.starts[own], spans.ends[own], left[own]
    near = np.flatnonzero(scores >= score - margin)
    # A gap is where a window starts after all before it have ended.
    gaps = starts[near[1:]] > np.maximum.accumulate(ends[near])[:-1]
    scene = np.concatenate([[0], np.cumsum(gaps)])
    members = near[scene == scene[np.searchsorted(near, row - own.start)]]
    start, end = float(starts[members].min()), float(ends[members].max())
    scores[(starts < end) & (ends > start)] = -np.inf
    scores[members] = -np.inf
    return Merged(row, start, end, score)
