"""From the vector of a query to moments of videos."""

import dataclasses
import functools
import os
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tempme_jax.checks import require_one_of, require_whole
from tempme_jax.search.query.candidates import Candidates, Held, Scored, Stored
from tempme_jax.search.query.catalogue import Catalogue
from tempme_jax.search.query.moments import Merged, merge, to_look_at
from tempme_jax.search.query.scoring import LEAST, Unrelated
from tempme_jax.search.store.rows import FileRow

if TYPE_CHECKING:  # it imports the database
    from tempme_jax.search.store.store import Store

# What a query is: a sentence, or frames of a picture or a video.
KINDS = ("text", "video")
# The percentile from which on a match is called one.
CONFIDENT = 95.0
# How much less than its best window a window of a moment may score: about one standard deviation
# of what unrelated queries reach, but between these, and the lower one where that is not known.
MARGINS = (0.02, 0.05)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Moment:
    """A part of a video that answers a query.

    Attributes:
        file: the video; of several with the same content the first by path that was asked for.
        start, end: seconds from the first frame.
        at: where the best window starts: from here it is worth playing.
        score: cosine of the query and the best window; higher is more alike.
        percentile: which share of unrelated queries find nothing that scores so much in this
            index, 0 to 100, as `Unrelated` estimates it; nan if there are too few to say.
        window: id of the best window.
        file_id: id of `file`.
        copies: other files with the same content, by path.
    """

    file: Path
    start: float
    end: float
    at: float
    score: float
    percentile: float
    window: str
    file_id: str
    copies: tuple[Path, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Results:
    """Moments that answer a query.

    Attributes:
        query: what was asked for, in words.
        moments: the best first; of equal ones by path, then by start.
        confident: whether the best moment's percentile is `CONFIDENT` or more.
        searched: how many windows were compared.
        message: why there is no moment, or no confident one; "" if there is one.
    """

    query: str
    moments: tuple[Moment, ...]
    confident: bool
    searched: int
    message: str


class Shown(NamedTuple):
    """A window, with the ids of the files that hold it, in the order of their paths."""

    file_ids: tuple[str, ...]
    start: float
    end: float


class Searcher:
    """One state of an index, ready to be searched by any number of threads.

    Attributes:
        files: by their ids, those that can be found.
    """

    def __init__(
        self,
        store: "Store",
        rows: Iterable[FileRow],
        paths: Mapping[str, Path],
    ):
        """Reads the vectors, if they are few enough to be held in memory.

        Args:
            store: of the index; where it `is_large`, its own index is asked, else `vectors()`
                are read once.
            rows: the files; those that failed are left out.
            paths: where they are, by their ids.
        """
        self._catalogue = catalogue = Catalogue(rows, paths)
        self.files = {row.id: row for row in catalogue.rows}
        self._candidates: Candidates = (Stored if store.is_large else Held)(store, catalogue)
        self._texts = np.asarray(store.unrelated[1], np.float32)
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
        """The moments that answer a query, best first.

        Percentiles are of the whole index: what is filtered is a part of it, where an unrelated
        query finds less, so that they are rather too low then.

        Args:
            vector: of the query, a unit vector, float32 [d].
            kind: "text" or "video": with what its scores are compared.
            query: it in words, for the results.
            k: how many moments at most.
            folder: only videos in it, or in folders below it.
            min_seconds, max_seconds: only videos of such a length, limits included.
            exclude_content: what not to look at.

        Raises:
            ValueError: for a k below 1, an unknown kind, or a vector that does not fit.
        """
        require_whole("k", k, least=1)
        require_one_of(kind, KINDS, "kind of query")
        filters = {"folder": folder, "min_seconds": min_seconds, "max_seconds": max_seconds}
        first = self._catalogue.select(**filters)
        if exclude_content in self._catalogue.number:
            first[self._catalogue.number[exclude_content]] = -1
        searched = int(self._catalogue.windows[first >= 0].sum())
        moments, confident = [], False
        if searched:
            unrelated = self.unrelated(kind)
            moments = self._moments(np.asarray(vector, np.float32), first, k, unrelated)
            confident = bool(moments) and moments[0].percentile >= CONFIDENT
        if confident:
            message = ""
        elif moments:
            message = doubt(kind, unrelated, moments[0].score)
        else:
            message = nothing(searched, other=exclude_content is not None, **filters)
        return Results(
            query=query, moments=tuple(moments), confident=confident, searched=searched,
            message=message,
        )  # fmt: skip

    def similar(self, window: str, *, k: int = 10, **filters) -> Results:
        """The moments of other videos that are like a window; filters as of `search`.

        Raises:
            KeyError: if there is no such window.
        """
        found = self._candidates.vector(window)
        if found is None or found[1] not in self._catalogue.number:
            raise KeyError(window)
        vector, content, *_ = found
        query = f"like {window}"
        return self.search(
            vector, kind="video", query=query, k=k, exclude_content=content, **filters
        )

    def window(self, window: str) -> Shown | None:
        """A window and the files that hold it; None if there is none."""
        found = self._candidates.vector(window)
        number = self._catalogue.number.get(found[1]) if found else None
        if number is None:
            return None
        files = self._catalogue.files_of(number)
        return Shown(tuple(self._catalogue.rows[file].id for file in files), *found[2:])

    def unrelated(self, kind: str) -> Unrelated:
        """What unrelated queries of a kind score here; measured when it is first asked for."""
        with self._lock:
            return self._unrelated_texts if kind == "text" else self._unrelated_windows

    @functools.cached_property
    def _unrelated_texts(self) -> Unrelated:
        return Unrelated(self._candidates.best_of_texts(self._texts))

    @functools.cached_property
    def _unrelated_windows(self) -> Unrelated:
        return Unrelated(self._candidates.best_of_windows())

    def _moments(
        self, vector: np.ndarray, first: np.ndarray, k: int, unrelated: Unrelated
    ) -> list[Moment]:
        """The best moments, of as many windows as it takes."""
        margin, count = min(max(unrelated.spread, MARGINS[0]), MARGINS[1]), to_look_at(k)
        while True:
            scored = self._candidates.scored(vector, first >= 0, count)
            merged = merge(scored.spans, scored.scores, k, margin)
            if len(merged) == k or scored.complete:
                break
            count *= 4
        moments = [self._moment(scored, one, first, unrelated) for one in merged]
        return sorted(moments, key=lambda one: (-one.score, os.fsencode(one.file), one.start))

    def _moment(
        self, scored: Scored, merged: Merged, first: np.ndarray, unrelated: Unrelated
    ) -> Moment:
        number, catalogue = int(scored.spans.contents[merged.row]), self._catalogue
        file = int(first[number])
        return Moment(
            file=catalogue.paths[file],
            start=merged.start,
            end=merged.end,
            at=float(scored.spans.starts[merged.row]),
            score=merged.score,
            percentile=unrelated.percentile(merged.score),
            window=scored.ids[merged.row],
            file_id=catalogue.rows[file].id,
            copies=tuple(catalogue.paths[i] for i in catalogue.files_of(number) if i != file),
        )


def nothing(
    searched: int,
    *,
    other: bool,
    folder: str | os.PathLike | None,
    min_seconds: float | None,
    max_seconds: float | None,
) -> str:
    """Why there is no moment at all."""
    if searched:
        return "the windows of these videos are missing in the index, which is damaged"
    asked = [
        f"in {os.fspath(folder)}" if folder is not None else "",
        f"of {min_seconds:g} s or more" if min_seconds is not None else "",
        f"of {max_seconds:g} s or less" if max_seconds is not None else "",
    ]
    video = "other video" if other else "video"
    return " ".join(filter(None, [f"nothing to search: the index has no {video}", *asked]))


def doubt(kind: str, unrelated: Unrelated, score: float) -> str:
    """Why the best moment is no confident match."""
    what = {"text": "unrelated texts", "video": "windows"}[kind]
    if not unrelated.tells:
        return (
            f"no confident match: the index has {len(unrelated)} {what} to compare the best score "
            f"with, and {LEAST} are needed"
        )
    share = f"about {unrelated.reaching(score):.0f} % of {what}"
    where = {"text": "in this index", "video": "in other videos of this index"}[kind]
    return f"no confident match: the best score is what {share} reach {where}"
