"""Find the moments of an index that are most similar to the vector of a query."""

import os
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tempme_jax.checks import require_one_of, require_whole
from tempme_jax.search.query.candidates import (
    Candidates,
    DatabaseCandidates,
    InMemoryCandidates,
    ScoredWindows,
)
from tempme_jax.search.query.catalogue import Catalogue
from tempme_jax.search.query.coded_candidates import CodedCandidates
from tempme_jax.search.query.moments import MergedWindows, count_candidates, merge_windows
from tempme_jax.search.query.results import CONFIDENT, Moment, Results
from tempme_jax.search.query.scoring import MIN_SCORES, UnrelatedScores
from tempme_jax.search.store.rows import FileRow
from tempme_jax.search.store.sidefile import SideFile
from tempme_jax.words import pluralize

if TYPE_CHECKING:  # it imports the database
    from tempme_jax.search.store.store import Store

# Kinds of queries: a sentence, or frames of a picture or a video.
KINDS = ("text", "video")
# Limits of how much less than its best window a window of a moment may score. Between them it is
# one standard deviation of the unrelated scores.
MARGINS = (0.02, 0.05)


class WindowFiles(NamedTuple):
    """A window, with the ids of the files that hold it, in the order of their paths."""

    file_ids: tuple[str, ...]
    start: float
    end: float


class Searcher:
    """One state of an index, ready to be searched by any number of threads.

    Attributes:
        files: the files that can be found, by their ids.
        damage: a sentence that says which part of the index is damaged; "" if none is.
    """

    def __init__(
        self, store: "Store | SideFile", rows: Iterable[FileRow], paths: Mapping[str, Path]
    ):
        """Read the vectors into memory, unless the store is large: then it is asked for each query.

        `paths` holds the path of each file by its id. Files that could not be indexed are left out,
        and of a small store those whose windows are damaged.
        """
        rows = list(rows)
        self._catalogue, self.damage = Catalogue(rows, paths), ""
        self._candidates: Candidates
        if not store.is_large:
            self._candidates = found = InMemoryCandidates(store, self._catalogue)
            if damaged := found.find_damaged(self._catalogue, store.read_checksums()):
                whole = [row for row in rows if row.content not in damaged]
                self.damage = explain_damage(len(damaged), "video")
                self._catalogue = Catalogue(whole, paths)
                self._candidates = InMemoryCandidates(store, self._catalogue)
        elif isinstance(store, SideFile):
            self._candidates = CodedCandidates(store, self._catalogue)
        else:
            self._candidates = DatabaseCandidates(store, self._catalogue)
            missing = int(self._catalogue.windows.sum()) - store.count_windows()
            self.damage = explain_damage(missing, "window") if missing > 0 else ""
        self.files = {row.id: row for row in self._catalogue.rows}
        self._texts = np.asarray(store.unrelated[1], np.float32)
        self._unrelated: dict[str, UnrelatedScores] = {}
        self._lock = threading.Lock()

    def search(
        self,
        vector: np.ndarray,
        *,
        kind: str = "text",
        query: str = "",
        k: int = 10,
        folder: str | os.PathLike | None = None,
        min_seconds: float | None = None,
        max_seconds: float | None = None,
        exclude_content: str | None = None,
    ) -> Results:
        """Find the moments that match a query, best first.

        Percentiles are those of the whole index, also if filters leave a part of it.

        Args:
            vector: unit vector of the query, float32 [d].
            kind: "text" or "video": the kind of unrelated queries that it is ranked against.
            query: the query in words, for the results.
            k, folder, min_seconds, max_seconds: as for `VideoIndex.search`.
            exclude_content: a content to leave out.

        Raises:
            ValueError: for a k below 1, an unknown kind, or a vector of another width.
        """
        require_whole("k", k, least=1)
        require_one_of(kind, KINDS, "kind of query")
        first = self._catalogue.select(
            folder=folder, min_seconds=min_seconds, max_seconds=max_seconds
        )
        if exclude_content in self._catalogue.number:
            first[self._catalogue.number[exclude_content]] = -1
        searched = int(self._catalogue.windows[first >= 0].sum())
        if searched:
            moments, message = self._match(np.asarray(vector, np.float32), first, k, kind)
        else:
            moments = []
            message = explain_empty(folder, min_seconds, max_seconds, exclude_content is not None)
        return Results(
            query=query, moments=tuple(moments), confident=bool(moments) and not message,
            searched=searched, message=message, notice=self.damage,
        )  # fmt: skip

    def search_similar(self, window: str, *, k: int = 10, **filters) -> Results:
        """Find the moments of other videos that look like a window; filters as of `search`.

        Raises:
            KeyError: if there is no such window.
        """
        found = self._candidates.find_window(window)
        if found is None or found.content not in self._catalogue.number:
            raise KeyError(window)
        return self.search(
            found.vector, kind="video", query=f"like {window}", k=k,
            exclude_content=found.content, **filters,
        )  # fmt: skip

    def find_window(self, window: str) -> WindowFiles | None:
        """Return a window and the files that hold it; None if there is none."""
        found = self._candidates.find_window(window)
        number = self._catalogue.number.get(found.content) if found else None
        if found is None or number is None:
            return None
        ids = [self._catalogue.rows[file].id for file in self._catalogue.list_files(number)]
        return WindowFiles(tuple(ids), found.start, found.end)

    def measure_unrelated(self, kind: str) -> UnrelatedScores:
        """Return the scores of unrelated queries of a kind; the first call computes them."""
        find = self._candidates
        with self._lock:
            if kind not in self._unrelated:
                is_text = kind == "text"
                best = find.measure_texts(self._texts) if is_text else find.measure_windows()
                self._unrelated[kind] = UnrelatedScores(best)
            return self._unrelated[kind]

    def _match(
        self, vector: np.ndarray, first: np.ndarray, k: int, kind: str
    ) -> tuple[list[Moment], str]:
        """Return the best moments, and why none of them is a confident match ("" if one is)."""
        unrelated = self.measure_unrelated(kind)
        moments = self._find_moments(vector, first, k, unrelated)
        if not moments:
            return [], "the windows of these videos are missing in the index, which is damaged"
        return moments, self.doubt(moments[0], kind)

    def doubt(self, moment: Moment, kind: str = "text") -> str:
        """Return why a moment is not a confident match; "" if it is one."""
        if moment.percentile >= CONFIDENT:
            return ""
        return explain_doubt(kind, self.measure_unrelated(kind), moment.score)

    def _find_moments(
        self, vector: np.ndarray, first: np.ndarray, k: int, unrelated: UnrelatedScores
    ) -> list[Moment]:
        """Ask for more and more windows until they make `k` moments."""
        margin, count = min(max(unrelated.spread, MARGINS[0]), MARGINS[1]), count_candidates(k)
        while True:
            windows = self._candidates.score_windows(vector, first >= 0, count)
            merged = merge_windows(windows.spans, windows.scores, k, margin)
            if len(merged) == k or windows.complete:
                break
            count *= 4
        moments = [self._make_moment(windows, one, first, unrelated) for one in merged]
        return sorted(moments, key=lambda one: (-one.score, os.fsencode(one.file), one.start))

    def _make_moment(
        self,
        windows: ScoredWindows,
        merged: MergedWindows,
        first: np.ndarray,
        unrelated: UnrelatedScores,
    ) -> Moment:
        number, catalogue = int(windows.spans.contents[merged.row]), self._catalogue
        file = int(first[number])
        return Moment(
            file=catalogue.paths[file],
            start=merged.start,
            end=merged.end,
            at=float(windows.spans.starts[merged.row]),
            score=merged.score,
            percentile=unrelated.compute_percentile(merged.score),
            window=windows.ids[merged.row],
            file_id=catalogue.rows[file].id,
            copies=tuple(catalogue.paths[i] for i in catalogue.list_files(number) if i != file),
        )


def explain_damage(count: int, what: str) -> str:
    """Return a sentence that says how many videos or windows are missing or damaged."""
    return (
        f"{pluralize(count, what)} cannot be found, as the index is damaged; "
        "`tempme index FOLDER --verify` repairs it"
    )


def explain_empty(
    folder: str | os.PathLike | None,
    min_seconds: float | None,
    max_seconds: float | None,
    is_one_excluded: bool,
) -> str:
    """Return a sentence that says that no video passes the filters."""
    filters = [
        f"in {os.fspath(folder)}" if folder is not None else "",
        f"of {min_seconds:g} s or more" if min_seconds is not None else "",
        f"of {max_seconds:g} s or less" if max_seconds is not None else "",
    ]
    video = "other video" if is_one_excluded else "video"
    return " ".join(filter(None, [f"nothing to search: the index has no {video}", *filters]))


def explain_doubt(kind: str, unrelated: UnrelatedScores, score: float) -> str:
    """Return a sentence that says why the best moment is not a confident match."""
    if not unrelated.is_enough:
        compared = {"text": "unrelated sentences", "video": "windows with other videos"}[kind]
        return (
            f"no confident match: a percentile needs at least {MIN_SCORES} {compared} to compare "
            f"with, and the index has {len(unrelated)}"
        )
    share = f"about {unrelated.compute_share_reaching(score):.0f} %"
    if kind == "text":
        compared = f"{share} of unrelated sentences score as high in this index"
    else:
        compared = f"{share} of windows score as high in other videos of this index"
    return f"no confident match: {compared}"
