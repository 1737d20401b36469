"""The windows that a search of a large index compares: all of them roughly, the best exactly."""

import bisect
from typing import TYPE_CHECKING

import numpy as np

from tempme_jax.search.query.candidates import SAMPLES, ScoredWindows, space_evenly
from tempme_jax.search.query.catalogue import Catalogue
from tempme_jax.search.query.moments import WINDOWS_A_MOMENT, Spans
from tempme_jax.search.query.scoring import select_top
from tempme_jax.search.store.rows import WindowRow

if TYPE_CHECKING:
    from tempme_jax.search.store.sidefile import SideFile

# Contents that are compared exactly for each moment that is asked for. The moments lie in the best
# contents; rough scores are off by about 0.0005, so a good one may come a little later.
CONTENTS_A_MOMENT = 2
# Most windows that are compared exactly in whole contents.
WINDOWS_AT_MOST = 20_000
# Most rough scores of contents that are held at once: 128 MiB.
SCORES_AT_ONCE = 2**25


class CodedCandidates:
    """Compare a query with the coded vectors of a side file, and with the exact ones of the best.

    The moments are those that `InMemoryCandidates` lead to.
    """

    def __init__(self, side: "SideFile", catalogue: Catalogue):
        """Keep the side file of a large index; contents that no file has are never returned."""
        self.side, self.vectors, self.firsts = side, side.coded, side.coded.firsts
        # For each content of the side file its number in the catalogue; -1 if no file has it.
        self.numbers = np.array([catalogue.number.get(name, -1) for name in side.names], np.int64)
        # Those that a file has, in the order of the catalogue: of equal ones the first is best.
        order = np.argsort(self.numbers, kind="stable")
        self.order = order[np.searchsorted(self.numbers[order], 0) :]

    def score_windows(self, query: np.ndarray, allowed: np.ndarray, count: int) -> ScoredWindows:
        """Score the windows of the best contents: all of them, or the `count` best of long ones."""
        best = self.vectors.score_contents(query[None])[0, self.order]
        best[~allowed[self.numbers[self.order]]] = -np.inf
        wanted = CONTENTS_A_MOMENT * -(-count // WINDOWS_A_MOMENT)
        contents = self.order[select_top(best, wanted)]
        rows, is_whole = self._select_rows(query, contents, count)
        numbers = np.repeat(self.numbers[contents], [len(part) for part in rows])
        chosen = np.concatenate([np.zeros(0, np.int64), *rows])
        starts, ends = self.side.read_times(chosen)
        order = np.lexsort((ends, starts, numbers))
        chosen = chosen[order]
        return ScoredWindows(
            ids=self.side.read_ids(chosen),
            spans=Spans(numbers[order], starts[order], ends[order]),
            scores=np.vecdot(self.vectors.read(chosen), query),
            complete=is_whole and len(contents) == np.count_nonzero(best > -np.inf),
        )

    def measure_texts(self, texts: np.ndarray) -> np.ndarray:
        """Return the scores that were computed when the side file was written."""
        best = self.side.text_scores
        return best[np.isfinite(best)]

    def measure_windows(self) -> np.ndarray:
        """Take `SAMPLES` windows, evenly over contents and time, and compare them with others."""
        counts = np.where(self.numbers < 0, 0, np.diff(self.firsts))
        places, ends = space_evenly(int(counts.sum()), SAMPLES), np.cumsum(counts)
        own = np.searchsorted(ends, places, "right")
        rows = self.firsts[own] + places - (ends - counts)[own]
        queries, found = self.vectors.read(rows), []
        size = max(1, SCORES_AT_ONCE // max(1, len(self.numbers)))
        for start in range(0, len(rows), size):
            part = queries[start : start + size]
            scores = self.vectors.score_contents(part)
            scores[:, self.numbers < 0] = -np.inf
            scores[np.arange(len(part)), own[start : start + size]] = -np.inf
            for query, best in zip(part, scores, strict=True):
                contents = select_top(best, CONTENTS_A_MOMENT)
                if len(contents):
                    chosen = np.concatenate(self._select_rows(query, contents, 1)[0])
                    found.append(np.vecdot(self.vectors.read(chosen), query).max())
        return np.array(found, np.float32)

    def score_content(
        self, query: np.ndarray, content: str
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Score the windows of a content by their coded vectors."""
        place = self._find_content(content)
        assert place is not None  # the catalogue and the side file are of one state
        first, last = int(self.firsts[place]), int(self.firsts[place + 1])
        starts, ends = self.side.read_times(np.arange(first, last))
        scores = self.vectors.score_rows(query, first, last)
        # All are short of the same number, which one exact score tells.
        missing = float(self.vectors.read(np.array([first]))[0] @ query) - scores[0]
        return starts, ends, scores + missing

    def find_window(self, window: str) -> WindowRow | None:
        """Look a window up in the side file."""
        name, _, _ = window.rpartition("-")
        content = self._find_content(name)
        if content is None:
            return None
        rows = np.arange(self.firsts[content], self.firsts[content + 1])
        ids = self.side.read_ids(rows)
        if window not in ids:
            return None
        row = rows[[ids.index(window)]]
        (start,), (end,) = self.side.read_times(row)
        return WindowRow(window, name, float(start), float(end), self.vectors.read(row)[0], b"")

    def _find_content(self, name: str) -> int | None:
        place = bisect.bisect_left(self.side.names, name)
        return place if self.side.names[place : place + 1] == [name] else None

    def _select_rows(
        self, query: np.ndarray, contents: np.ndarray, count: int
    ) -> tuple[list[np.ndarray], bool]:
        """Return the rows of contents to compare exactly, and whether these are all of theirs.

        They are all, until `WINDOWS_AT_MOST` are reached; of further contents, the `count` best.
        """
        rows, windows, is_whole = [], 0, True
        for content in contents.tolist():
            first, last = int(self.firsts[content]), int(self.firsts[content + 1])
            own = np.arange(first, last)
            if windows + len(own) > WINDOWS_AT_MOST and len(own) > count:
                own = own[select_top(self.vectors.score_rows(query, first, last), count)]
                is_whole = False
            rows.append(own)
            windows += len(own)
        return rows, is_whole
