"""Group the videos of an index that show the same, and the moments that several of them share."""

import dataclasses
import os
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from tempme_jax.search.duplicates.pairs import AlikePair, PairFinder
from tempme_jax.search.duplicates.vectors import ContentVectors
from tempme_jax.search.paths import decode_root

if TYPE_CHECKING:
    from tempme_jax.search.store.rows import FileRow
    from tempme_jax.search.store.sidefile import SideFile
    from tempme_jax.search.store.store import Store

# Least cosine of windows that are alike. Copies in another size or quality reach it; so may parts
# of films of one fixed camera.
THRESHOLD = 0.98
# Share of the windows that have to be alike for a video to be called alike as a whole.
MOST_WINDOWS = 0.9
# Share by which the lengths of two videos that are alike may differ; or a window.
LENGTHS = 0.05
# Windows in a row that make a moment that two videos share.
LEAST_WINDOWS = 2
# Pairs of moments that are grouped at most.
MOST_SHARED = 100_000


class FoundVideo(NamedTuple):
    """A file in a group.

    Attributes:
        file: its path.
        file_id: its id.
        seconds: its length.
        size: its size in bytes.
        kind: "first"; "copy": its bytes are those of the first; "same": it looks like the first
            from start to end; "part": all of it looks like a part of the first.
        score: least cosine of its windows that are alike; 1 for copies.
        start, end: the part of the first that it looks like, in seconds.
    """

    file: Path
    file_id: str
    seconds: float
    size: int
    kind: Literal["first", "copy", "same", "part"]
    score: float
    start: float
    end: float


class SharedMoment(NamedTuple):
    """A part of a video that looks like parts of others.

    Attributes:
        file: path of the video.
        file_id: its id.
        start, end: the part, in seconds.
        score: least cosine of its windows and those of another video in the group.
    """

    file: Path
    file_id: str
    start: float
    end: float
    score: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Duplicates:
    """What shows the same in an index.

    Attributes:
        groups: videos that show the same as the first of their group, which is the longest.
        shared: moments of different groups that look alike.
        threshold: the least cosine of windows that are alike.
        searched: number of videos that were compared.
        notice: what is missing; "" if nothing is.
    """

    groups: tuple[tuple[FoundVideo, ...], ...]
    shared: tuple[tuple[SharedMoment, ...], ...]
    threshold: float
    searched: int
    notice: str = ""

    def convert_to_json(self) -> dict[str, Any]:
        """Return all as dicts, lists, strings and numbers."""
        converted = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        for name in ("groups", "shared"):
            converted[name] = [
                [one._asdict() | {"file": str(one.file)} for one in group]
                for group in converted[name]
            ]
        return converted


def find_duplicates(
    reader: "Store | SideFile", threshold: float, folder: str | os.PathLike | None
) -> Duplicates:
    """Implement `VideoIndex.find_duplicates`."""
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold={threshold:g} must be above 0 and at most 1; try {THRESHOLD}")
    files = _list_files(reader, folder)
    seconds = {name: found[0][0].seconds for name, found in files.items()}
    vectors = ContentVectors(reader, seconds)
    finder, grouping = PairFinder(vectors, threshold), _Grouping(vectors, files, threshold)
    for pair in finder.find():
        if grouping.add(pair):
            finder.is_out[pair.second] = True
    return grouping.finish()


def _list_files(
    reader: "Store | SideFile", folder: str | os.PathLike | None
) -> dict[str, list[tuple["FileRow", Path]]]:
    """Return for each content the rows and paths of its files, by path."""
    above = None if folder is None else Path(folder).expanduser().resolve()
    files = defaultdict(list)
    for row in reader.read_files():
        path = decode_root(reader.uri, row.root) / os.fsdecode(row.path)
        if not row.reason and (above is None or path.is_relative_to(above)):
            files[row.content].append((row, path))
    return {name: sorted(found, key=lambda pair: pair[1]) for name, found in files.items()}


class _Grouping:
    """Sorts pairs of contents into groups."""

    def __init__(
        self,
        vectors: ContentVectors,
        files: dict[str, list[tuple["FileRow", Path]]],
        threshold: float,
    ):
        self._vectors, self._files, self._threshold = vectors, files, threshold
        self._members: dict[int, list[AlikePair]] = defaultdict(list)
        self._shared: list[list[SharedMoment]] = []
        # For each content, the moments that are in a group of moments, with its number.
        self._places: dict[int, list[tuple[float, float, int]]] = defaultdict(list)
        self._pairs = 0

    def add(self, pair: AlikePair) -> bool:
        """Add a pair; return whether the second belongs to the first as a whole."""
        is_alike = pair.scores >= self._threshold
        count = int(self._vectors.counts[pair.second])
        if is_alike.sum() >= MOST_WINDOWS * count:
            self._members[pair.first].append(pair)
            return True
        for begin, end in _list_runs(is_alike):
            if end - begin >= LEAST_WINDOWS:
                self._add_shared(pair, begin, end)
        return False

    def _add_shared(self, pair: AlikePair, begin: int, end: int) -> None:
        self._pairs += 1
        if self._pairs > MOST_SHARED:
            return
        score = float(pair.scores[begin:end].min())
        windows = {
            pair.second: (pair.begin + begin, pair.begin + end - 1),
            pair.first: (pair.begin + begin + pair.shift, pair.begin + end - 1 + pair.shift),
        }
        spans = {
            content: self._vectors.find_span(content, *ends) for content, ends in windows.items()
        }
        numbers = {content: self._find_group(content, *span) for content, span in spans.items()}
        number = next((each for each in numbers.values() if each is not None), None)
        if number is None:
            number = len(self._shared)
            self._shared.append([])
        for content in (pair.first, pair.second):
            if numbers[content] is None:
                start, finish = spans[content]
                row, path = self._files[self._vectors.names[content]][0]
                self._shared[number].append(SharedMoment(path, row.id, start, finish, score))
                self._places[content].append((start, finish, number))

    def _find_group(self, content: int, start: float, end: float) -> int | None:
        """Return the group that holds most of a moment already; None if none does."""
        for other_start, other_end, number in self._places[content]:
            if min(end, other_end) - max(start, other_start) > (end - start) / 2:
                return number
        return None

    def finish(self) -> Duplicates:
        """Return all groups, those of the most videos first."""
        groups = []
        members = {pair.second for pairs in self._members.values() for pair in pairs}
        for content, name in enumerate(self._vectors.names):
            files, pairs = self._files[name], self._members.get(content, [])
            if content in members or (len(files) == 1 and not pairs):
                continue
            group = [self._describe(name, "first"), *self._list_copies(name, "copy")]
            for pair in pairs:
                group += self._describe_pair(pair)
            groups.append(tuple(group))
        groups.sort(key=lambda group: (-len(group), str(group[0].file)))
        notice = ""
        if self._pairs > MOST_SHARED:
            notice = (
                f"{self._pairs} pairs of moments look alike, of which {MOST_SHARED} were grouped; "
                "a higher threshold tells more of them apart"
            )
        shared = sorted(self._shared, key=lambda group: (-len(group), str(group[0].file)))
        return Duplicates(
            groups=tuple(groups), shared=tuple(map(tuple, shared)), threshold=self._threshold,
            searched=sum(map(len, self._files.values())), notice=notice,
        )  # fmt: skip

    def _describe(self, name: str, kind: Any, score: float = 1.0, span: Any = None) -> FoundVideo:
        row, path = self._files[name][0]
        start, end = span or (0.0, row.seconds)
        return FoundVideo(path, row.id, row.seconds, row.size, kind, score, start, end)

    def _list_copies(
        self, name: str, kind: Any, score: float = 1.0, span: Any = None
    ) -> list[FoundVideo]:
        first = self._describe(name, kind, score, span)
        return [
            first._replace(file=path, file_id=row.id, size=row.size)
            for row, path in self._files[name][1:]
        ]

    def _describe_pair(self, pair: AlikePair) -> list[FoundVideo]:
        """Describe a video that looks like the first of its group, and its copies."""
        name, first = self._vectors.names[pair.second], self._vectors.names[pair.first]
        alike = np.flatnonzero(pair.scores >= self._threshold)
        windows = pair.begin + pair.shift + alike[[0, -1]]
        span = self._vectors.find_span(pair.first, int(windows[0]), int(windows[1]))
        lengths = [self._files[each][0][0].seconds for each in (first, name)]
        is_same = lengths[0] - lengths[1] <= max(LENGTHS * lengths[0], self._measure_hop(pair))
        kind = "same" if is_same else "part"
        score = float(pair.scores[alike].min())
        found = self._describe(name, kind, score, span)
        return [found, *self._list_copies(name, kind, score, span)]

    def _measure_hop(self, pair: AlikePair) -> float:
        starts = self._vectors.find_starts(pair.first)
        return float(starts[1] - starts[0]) if len(starts) > 1 else 0.0


def _list_runs(is_alike: np.ndarray) -> list[tuple[int, int]]:
    """Return begin and end of each run of windows that are alike."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], is_alike, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
