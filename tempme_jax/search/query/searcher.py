"""Find the moments of an index that are most similar to the vector of a query."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tempme_jax.checks import require_one_of, require_whole
from tempme_jax.late_interaction import require_tau
from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.query.candidates import ScoredWindows
from tempme_jax.search.query.catalogue import Catalogue
from tempme_jax.search.query.choosing import choose_candidates
from tempme_jax.search.query.filters import Filters
from tempme_jax.search.query.late import (
    BEST_FRAME,
    LateSearch,
    Temper,
    explain_no_frames,
    make_lines,
)
from tempme_jax.search.query.lines import find_levels
from tempme_jax.search.query.measures import IndexMeasures
from tempme_jax.search.query.moments import MergedWindows, count_candidates, merge_windows
from tempme_jax.search.query.names import NameSearch
from tempme_jax.search.query.results import Moment, Results
from tempme_jax.search.query.same import OwnPart
from tempme_jax.search.query.scoring import MIN_SCORES, UnrelatedScores
from tempme_jax.search.query.verdicts import CONFIDENT, SAME, choose_verdict
from tempme_jax.search.query.wording import explain_doubt, explain_empty
from tempme_jax.search.store.rows import FileRow
from tempme_jax.search.store.sidefile import SideFile

if TYPE_CHECKING:  # it imports the database
    from tempme_jax.search.store.store import Store

# Kinds of queries, and whether their scores are compared with those of texts or of windows.
KINDS = {
    "text": "text",
    "picture": "video",
    "clip": "video",
    "similar": "video",
    "video": "video",
}
ALL_MISSING = "the windows of these videos are missing in the index, which is damaged"
# Limits of how much less than its best window a window of a moment may score. Between them it is
# one standard deviation of the unrelated scores.
MARGINS = (0.02, 0.05)


class WindowFiles(NamedTuple):
    """A window, with the ids of the files that hold it, in the order of their paths."""

    file_ids: tuple[str, ...]
    start: float
    end: float


class Wanted(NamedTuple):
    """What is looked for: see `Searcher.search`; `most` is `per_video`, no `temper` is the mean."""

    vector: np.ndarray
    kind: str
    k: int
    most: int | None
    own: OwnPart | None
    temper: Temper | None


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
        self._catalogue, self._candidates, self.damage = choose_candidates(store, rows, paths)
        self.files = {row.id: row for row in self._catalogue.rows}
        self._late = LateSearch.open(store, self._candidates)
        self._store = store
        self._names = NameSearch(self._catalogue)
        texts = np.asarray(store.unrelated[1], np.float32)
        self._measures = IndexMeasures(self._catalogue, self._candidates, self._late, texts)

    @property
    def catalogue(self) -> Catalogue:
        """The files that can be found."""
        return self._catalogue

    def search(
        self,
        vector: np.ndarray,
        *,
        kind: str = "text",
        query: str = "",
        k: int = 10,
        per_video: int | None = None,
        lines: bool = False,
        exclude_content: str | None = None,
        own: OwnPart | None = None,
        tau: float | None = None,
        is_mixed: bool = False,
        **filters: Any,
    ) -> Results:
        """Find the moments that match a query, best first.

        Percentiles are those of the whole index, also if filters leave a part of it.

        Args:
            vector: unit vector of the query, float32 [d].
            kind: the kind of query, of KINDS; "video" is any but a text.
            query: the query in words, for the results.
            k, per_video, lines: as for `VideoIndex.search`.
            exclude_content: a content to leave out.
            own: what the query was taken from: moments there are the same, and come first.
            tau: as for `VideoIndex.search`.
            is_mixed: whether `vector` is that of several queries, which is compared by cosines.
            **filters: which videos are searched, see `Filters`.

        Raises:
            ValueError: for a k below 1, an unknown kind, or a vector of another width.
            VideoIndexError: `tau` is given, and the index keeps no vectors of frames.
        """
        require_whole("k", k, least=1)
        require_one_of(kind, tuple(KINDS), "kind of query")
        if per_video is not None:
            require_whole("per_video", per_video, least=1)
        kind, vector = "clip" if kind == "video" else kind, np.asarray(vector, np.float32)
        passes = self._catalogue.find_passing(**filters)
        first = self._catalogue.find_first(passes)
        if exclude_content in self._catalogue.number:
            first[self._catalogue.number[exclude_content]] = -1
        names, more = self._names.find(query, passes) if kind == "text" else ((), 0)
        temper = self._choose_temper(tau, by_mean=kind != "text" or is_mixed)
        found = self._answer(Wanted(vector, kind, k, per_video, own, temper), first, lines=lines)
        if not found["searched"]:
            found["message"] = explain_empty(Filters(**filters), exclude_content is not None)
        return Results(
            query=query, kind=kind, names=names, more_names=more, notice=self.damage,
            tau=temper.tau if temper else None, **found,
        )  # fmt: skip

    def _choose_temper(self, tau: float | None, *, by_mean: bool) -> Temper | None:
        if tau is not None:
            tau = require_tau("tau", tau)
            if by_mean:
                raise ValueError("tau is for texts; other queries are compared by cosines")
            if self._late is None:
                raise VideoIndexError(explain_no_frames(self._store.header, self._store.uri))
        if self._late is None or by_mean:
            return None
        return self._late.temper if tau is None else Temper(tau)

    def _answer(self, wanted: Wanted, first: np.ndarray, *, lines: bool) -> dict[str, Any]:
        """Return the fields of `Results` that depend on the vectors of some files."""
        searched = int(self._catalogue.windows[first >= 0].sum())
        moments = self._list_moments(wanted, first) if searched else []
        message = self.doubt(moments[0], wanted.kind) if moments else ALL_MISSING
        if self._late:
            moments = self._late.locate(moments, wanted.vector)
        drawn: dict[str, Any] = {}
        if lines and moments:
            files = [self.files[name] for name in dict.fromkeys(one.file_id for one in moments)]
            late = self._late if wanted.temper else None
            unrelated = self.measure_unrelated(wanted.kind, BEST_FRAME if late else None)
            drawn["lines"] = make_lines(files, wanted.vector, self._candidates, late)
            drawn["levels"] = find_levels(unrelated)
        return {
            "moments": tuple(moments), "confident": bool(moments) and not message,
            "searched": searched, "message": message, **drawn,
        }  # fmt: skip

    def search_similar(self, window: str, *, k: int = 10, **filters) -> Results:
        """Find the moments of other videos that look like a window; filters as of `search`.

        Raises:
            KeyError: if there is no such window.
        """
        found = self._candidates.find_window(window)
        if found is None or found.content not in self._catalogue.number:
            raise KeyError(window)
        return self.search(
            found.vector, kind="similar", query=f"like {window}", k=k,
            exclude_content=found.content, **filters,
        )  # fmt: skip

    def find_vector(self, window: str) -> np.ndarray | None:
        """Return the unit vector of a window, float32 [d]; None if there is no such window."""
        found = self._candidates.find_window(window)
        return None if found is None else np.asarray(found.vector, np.float32)

    def measure_spread(self, vector: np.ndarray) -> float:
        """Return how much the scores of a query differ over the index; NaN for too few windows."""
        return self._measures.measure_spread(vector)

    def measure_unrelated(self, kind: str, temper: Temper | None = None) -> UnrelatedScores:
        """Return the scores of unrelated queries of a kind; see `IndexMeasures`."""
        return self._measures.measure_unrelated(KINDS[kind], temper)

    def find_window(self, window: str) -> WindowFiles | None:
        """Return a window and the files that hold it; None if there is none."""
        found = self._candidates.find_window(window)
        number = self._catalogue.number.get(found.content) if found else None
        if found is None or number is None:
            return None
        ids = [self._catalogue.rows[file].id for file in self._catalogue.list_files(number)]
        return WindowFiles(tuple(ids), found.start, found.end)

    def doubt(self, moment: Moment, kind: str = "text") -> str:
        """Return why a moment, the best one, is not a confident match; "" if it is one."""
        if moment.verdict in CONFIDENT:
            return ""
        unrelated = self.measure_unrelated(kind)
        return explain_doubt(moment.verdict, moment.percentile, kind, unrelated, MIN_SCORES)

    def _find_moments(self, wanted: Wanted, first: np.ndarray) -> list[Moment]:
        """Ask for more and more windows until they make `k` moments, at most `most` of a video."""
        unrelated, allowed = self.measure_unrelated(wanted.kind, wanted.temper), first >= 0
        contents = int(np.count_nonzero(allowed))
        most = wanted.most if contents > 1 else None  # of a single video, all are asked for
        k = wanted.k if most is None else min(wanted.k, most * contents)
        margin, count = min(max(unrelated.spread, MARGINS[0]), MARGINS[1]), count_candidates(k)
        while True:
            windows = self._candidates.score_windows(wanted.vector, allowed, count)
            cosines = windows.scores
            if self._late and wanted.temper:
                windows = self._late.rescore(windows, wanted.vector, wanted.temper)
            merged = merge_windows(windows.spans, windows.scores, k, margin, most)
            if len(merged) == k or windows.complete:
                break
            # To read all of a few long videos for a second moment of each takes seconds.
            covered = {int(windows.spans.contents[one.row]) for one in merged}
            if most is not None and count > count_candidates(k) and len(covered) == contents:
                break
            count *= 4
        moments = [
            self._make_moment(windows, one, first, unrelated, wanted.own, float(cosines[one.row]))
            for one in merged
        ]
        return sorted(moments, key=lambda one: (-one.score, os.fsencode(one.file), one.start))

    def _list_moments(self, wanted: Wanted, first: np.ndarray) -> list[Moment]:
        """Return moments; those that the query was taken from come first, however they score."""
        moments = self._find_moments(wanted, first)
        number = self._catalogue.number.get(wanted.own.content) if wanted.own else None
        if number is None or first[number] < 0:
            return moments
        only = np.where(np.arange(len(first)) == number, first, -1)
        found = self._find_moments(wanted, only)
        same = [one for one in found if one.verdict == SAME][: wanted.most]
        left_out = {one.window for one in (found if wanted.most is not None else same)}
        return (same + [one for one in moments if one.window not in left_out])[: wanted.k]

    def _make_moment(
        self,
        windows: ScoredWindows,
        merged: MergedWindows,
        first: np.ndarray,
        unrelated: UnrelatedScores,
        own: OwnPart | None,
        cosine: float,
    ) -> Moment:
        number, catalogue = int(windows.spans.contents[merged.row]), self._catalogue
        file, percentile = int(first[number]), unrelated.compute_percentile(merged.score)
        is_same = (
            own is not None
            and own.content == catalogue.names[number]
            and merged.start < own.end
            and merged.end > own.start
        )
        return Moment(
            file=catalogue.paths[file],
            start=merged.start,
            end=merged.end,
            at=float(windows.spans.starts[merged.row]),
            score=merged.score,
            percentile=percentile,
            verdict=choose_verdict(cosine, percentile, is_same=is_same),
            window=windows.ids[merged.row],
            file_id=catalogue.rows[file].id,
            copies=tuple(catalogue.paths[i] for i in catalogue.list_files(number) if i != file),
        )
