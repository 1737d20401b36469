"""Late interaction in an index that keeps vectors of frames: see docs/guides/late_interaction.md.

The windows with the best cosines are compared with a text once more, frame by frame. The score of
such a window is at least its cosine, so those that are not compared again come behind.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tempme_jax.late_interaction import pool_similarities
from tempme_jax.search.query.candidates import (
    Candidates,
    DatabaseCandidates,
    InMemoryCandidates,
    ScoredWindows,
)
from tempme_jax.search.query.lines import make_line
from tempme_jax.search.query.results import Moment, ScoreLine
from tempme_jax.search.query.scoring import select_top
from tempme_jax.search.store.frame_codes import FrameScores, compare_frames
from tempme_jax.search.store.rows import FileRow, make_window_id
from tempme_jax.search.store.sidefile import SideFile
from tempme_jax.search.store.text_frames import NEAREST, compare_texts, find_nearest_rows

if TYPE_CHECKING:  # it imports the database
    from tempme_jax.search.store.store import Store

# Windows of which lines are drawn frame by frame; videos with more than are left of these are drawn
# by windows.
WINDOWS_DRAWN = 2000


class Temper(NamedTuple):
    """How the score of a window is made from those of its frames.

    Attributes:
        tau: the temperature of late interaction.
        share: that of late interaction in the score; the rest is the cosine.
    """

    tau: float
    share: float = 1.0

    def pool(self, found: FrameScores) -> np.ndarray:
        """Return the scores of windows, float32 [...]."""
        late = pool_similarities(*found, self.tau)[0]
        if self.share == 1:
            return late
        return self.share * late + (1 - self.share) * pool_similarities(*found, math.inf)[0]


# With it the score of a window is that of its best frame.
BEST_FRAME = Temper(1e-6)
# For models that have not learned a temperature: `benchmarks/needles.py` says what they do. The
# temperature is to be divided by the scale of the model's logits, as similarities spread by that.
SHARPNESS, SHARE = 3.0, 0.25


def choose_temper(learned: float, scale: float) -> Temper:
    """Return how searches score windows, by the temperature that a model has learned, or else 0.

    `scale` is that of its logits.
    """
    return Temper(learned) if learned else Temper(SHARPNESS / scale, SHARE)


class LateSearch:
    """Compares queries with the frames of windows of one state of an index.

    Attributes:
        temper: by what the model has learned, else the default.
    """

    def __init__(self, store: "Store | SideFile", candidates: Candidates):
        """Take the index, and what finds its windows."""
        about, sampling = store.header["per_frame"], store.header["sampling"]
        self.temper = choose_temper(about["tau"], about["scale"])
        self._store, self._candidates, self._frames = store, candidates, about["frames"]
        self._step = 1 / sampling["fps"]

    @classmethod
    def open(cls, store: "Store | SideFile", candidates: Candidates) -> "LateSearch | None":
        """Return what compares frames; None if the index keeps none, or the database searches."""
        if not store.has_frames or isinstance(candidates, DatabaseCandidates):
            return None
        return cls(store, candidates)

    def rescore(self, windows: ScoredWindows, query: np.ndarray, temper: Temper) -> ScoredWindows:
        """Return windows, the `NEAREST` best of which are compared by their frames."""
        rows, scores = select_top(windows.scores, NEAREST), np.array(windows.scores, np.float64)
        found = self._compare(query, [windows.ids[row] for row in rows])
        scores[rows] = np.maximum(scores[rows], temper.pool(found))
        return dataclasses.replace(windows, scores=scores)

    def measure_texts(self, texts: np.ndarray, temper: Temper) -> np.ndarray:
        """Return the best score in the index of each unrelated text, float32 [m, d] to [m]."""
        found = self._compare_texts(texts)
        scores = temper.pool(found)
        scores[found.weights.max(axis=-1, initial=0) <= 0] = -np.inf
        best = scores.max(axis=1, initial=-np.inf)
        return best[np.isfinite(best)]

    def locate(self, moments: Sequence[Moment], query: np.ndarray) -> list[Moment]:
        """Return moments with the second of their best windows that fits best, and the curve."""
        found = self._compare(query, [moment.window for moment in moments])
        return [
            self._add_second(moment, *each) for moment, *each in zip(moments, *found, strict=True)
        ]

    def score_content(
        self, query: np.ndarray, content: str
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return starts, ends and scores of the frames of a content, each [n]."""
        starts, ends, _ = self._candidates.score_content(query, content)
        found = self._compare(query, [make_window_id(content, i) for i in range(len(starts))])
        spans = [self._find_seconds(*span) for span in zip(starts, ends, strict=True)]
        steps = np.array([self._find_step(*span) for span in zip(starts, ends, strict=True)])
        seconds, half = np.array(spans).reshape(found.scores.shape), steps[:, None] / 2
        scores = np.where(found.weights > 0, found.scores, np.nan)
        return (seconds - half).ravel(), (seconds + half).ravel(), scores.ravel()

    def _compare(self, query: np.ndarray, ids: Sequence[str]) -> FrameScores:
        if not len(ids):
            return FrameScores(*np.zeros((2, 0, self._frames), np.float32))
        return compare_frames(query, self._store.read_frames(ids), self._frames)

    def _compare_texts(self, texts: np.ndarray) -> FrameScores:
        """Compare the unrelated texts with frames, unless that is in the side file."""
        if isinstance(self._store, SideFile):
            return self._store.read_text_frames()
        assert isinstance(self._candidates, InMemoryCandidates)
        found, known = self._candidates.vectors, self._candidates.contents >= 0
        nearest = find_nearest_rows(texts, found.matrix, known)
        needed = np.unique(nearest[nearest >= 0])
        table = self._store.read_frames([found.ids[row] for row in needed.tolist()])
        return compare_texts(
            texts, nearest, lambda some: table[np.searchsorted(needed, some)], self._frames
        )

    def _add_second(self, moment: Moment, scores: np.ndarray, weights: np.ndarray) -> Moment:
        start, end = self._find_window(moment)
        seconds = self._find_seconds(start, end)
        there = np.flatnonzero(weights > 0)
        if not len(there):
            return moment
        seconds = [min(round(second, 3), end) for second in seconds]
        best = seconds[there[np.argmax(scores[there])]]
        curve = tuple((seconds[i], round(float(scores[i]), 4)) for i in there.tolist())
        return dataclasses.replace(moment, best=best, at=best, curve=curve)

    def _find_window(self, moment: Moment) -> tuple[float, float]:
        found = self._candidates.find_window(moment.window)
        assert found is not None  # it was found in this state of the index
        return found.start, found.end

    def _find_step(self, start: float, end: float) -> float:
        """Return the seconds between frames; those of a short video share its length evenly."""
        return min(self._step, (end - start) / self._frames) if start == 0 else self._step

    def _find_seconds(self, start: float, end: float) -> list[float]:
        """Return when the frames of a window are on screen, as `cut_into_windows` chose them."""
        step = self._find_step(start, end)
        return [min(start + (i + 0.5) * step, end) for i in range(self._frames)]


def make_lines(
    files: Sequence[FileRow], query: np.ndarray, candidates: Candidates, late: LateSearch | None
) -> tuple[ScoreLine, ...]:
    """Return the scores of a query over the time of videos; with `late`, those of frames."""
    lines, windows = [], 0
    for row in files:
        score = candidates.score_content
        if late and windows + row.windows <= WINDOWS_DRAWN:  # a long video takes no room of others
            score, windows = late.score_content, windows + row.windows
        scored = score(query, row.content)
        lines.append(make_line(row.id, row.seconds, *scored))
    return tuple(lines)


def explain_no_frames(header: Mapping[str, Any], uri: str) -> str:
    """Return why an index cannot be searched by late interaction, and what to do."""
    if "per_frame" in header:
        return (
            f"tau is for late interaction, but the large index {uri} is searched by its database, "
            "which compares whole windows: it has no side file of its newest state, as in an "
            "object store and while `tempme index` runs. Leave tau out"
        )
    return (
        f"tau is for late interaction, but the index {uri} keeps no vectors of frames; leave tau "
        "out, or make an index with them: `tempme index FOLDER --rebuild --per-frame`"
    )
