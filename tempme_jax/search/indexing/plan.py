"""Planning a run: find the new files of a folder, and those that have to be decoded."""

import contextlib
import dataclasses
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Generator
from functools import partial
from typing import TypeVar

from tempme_jax.search.indexing.identify import KnownFiles, get_samples, make_content_id
from tempme_jax.search.indexing.probe import (
    CheckedFile,
    ProbedFile,
    Source,
    check_file,
    probe_file,
    probe_files,
    probe_whole_file,
)
from tempme_jax.search.indexing.progress import IndexProgress
from tempme_jax.search.indexing.survey import Survey, VideoFolder
from tempme_jax.search.indexing.walk import FoundFile, make_file_id
from tempme_jax.search.paths import decode_root
from tempme_jax.search.store.rows import PASSED_OVER, FileRow
from tempme_jax.search.store.store import Store
from tempme_jax.video.container import VideoError
from tempme_jax.video.kinds import is_passed_over
from tempme_jax.video.opening import PASSING, FileState
from tempme_jax.video.reading import READING_VERSION
from tempme_jax.words import pluralize

T = TypeVar("T")
# By how much a video may be longer or shorter than its file states: seconds, and share.
SECONDS_OFF, SHARE_OFF = 2.0, 0.02
# No file has this time, so a row with it is looked at by every run.
NO_TIME = -(2**63)


@dataclasses.dataclass
class Work:
    """The work of a run.

    Attributes:
        rows: files that need no decoding: they are unusable, or their content has windows already.
        waiting: for each video to embed, the files that hold it. Their content is "" as long as not
            all of their bytes have been hashed.
        seconds: for each video to embed, the length that its file states, in seconds; None if
            it states none.
        sources: one file to decode for each video.
        renewed: rows of an earlier version, by their ids, whose files are embedded anew.
        reasons: why they are, with the number of files.
        contents: ids of the contents that have windows.
        unchecked: number of files of an earlier version that were not looked at in time.
    """

    rows: list[FileRow] = dataclasses.field(default_factory=list)
    waiting: dict[str, list[FileRow]] = dataclasses.field(default_factory=dict)
    seconds: dict[str, float | None] = dataclasses.field(default_factory=dict)
    sources: list[Source] = dataclasses.field(default_factory=list)
    renewed: dict[str, FileRow] = dataclasses.field(default_factory=dict)
    reasons: Counter[str] = dataclasses.field(default_factory=Counter)
    contents: set[str] = dataclasses.field(default_factory=set)
    unchecked: int = 0


class Planner:
    """Opens files of a folder in child processes, and sorts them into the work of a run."""

    def __init__(
        self,
        store: Store,
        place: VideoFolder,
        survey: Survey,
        *,
        keep: Callable[[FileRow], None],
        workers: int | None,
        progress: IndexProgress,
        deadline: float | None = None,
    ):
        """Plan for the files of a survey.

        `keep` is called with each row that needs no decoding, as soon as it is known. After
        `deadline`, a value of `time.monotonic`, files of an earlier version are left to the next
        run.
        """
        self._store, self._place, self._stored = store, place, store.read_contents()
        self._keep, self._workers, self._progress = keep, workers, progress
        self._known = KnownFiles(survey.rows, self._stored, partial(locate_file, store))
        used = {row.content for row in survey.rows}
        leftovers = (self._stored[content] for content in self._stored.keys() - used)
        self._leftovers = [content.seconds for content in leftovers]
        self._difference, self._deadline = survey.difference, deadline or math.inf
        self._work = Work(contents=set(self._stored))

    def plan(self) -> Work:
        """Look at all files, and return the work."""
        unchanged = self._difference.unchanged
        self._check([row for row in unchanged if row.reading < READING_VERSION])
        self._open(self._difference.look_at)
        return self._work

    def _check(self, rows: list[FileRow], *, are_new: bool = False) -> None:
        """Look at files that an earlier version read; those that it read otherwise are embedded.

        `are_new` says whether the rows are not in the index yet.
        """
        if rows:
            self._progress.say(f"Checking {pluralize(len(rows), 'file')} read by an older version")
        unchecked = {row.id: row for row in rows}
        with contextlib.closing(self._probe(rows, check_file, "Checking")) as found:
            for row, checked in found:
                self._take_checked(unchecked.pop(row.id), checked)
                if time.monotonic() > self._deadline:
                    break
        self._work.unchecked += len(unchecked)
        for row in unchecked.values() if are_new else ():
            self._keep(row)

    def _take_checked(self, row: FileRow, checked: CheckedFile | VideoError) -> None:
        if isinstance(checked, VideoError):  # the next run tries again
            return self._keep(row)
        probed, reasons = checked
        if probed.samples != get_samples(row):
            reasons = ["their content has changed"]
        now = row._replace(samples=probed.samples, whole=probed.whole, reading=READING_VERSION)
        if reasons:
            self._work.renewed[row.id] = row
            self._work.reasons.update(reasons)
            return self._add(now, probed)
        self._known.add(now)
        return self._keep(now)

    def _open(self, files: list[FoundFile]) -> None:
        """Look at new and changed files."""
        rows = [
            FileRow(make_file_id(self._place.root, file.path), self._place.root, *file)
            for file in files
        ]
        new, unsure, outdated = [], [], []
        for row, probed in self._probe(rows, probe_file, "Opening"):
            if isinstance(probed, VideoError):
                self._keep_row(describe_failure(row, probed))
                continue
            row = row._replace(size=probed.size, mtime_ns=probed.mtime_ns, samples=probed.samples)
            match = self._known.find(row.id, probed)
            if match.row:
                self._adopt(row, match.row, outdated)
            elif match.is_sure and (probed.whole or not self._may_be_leftover(probed)):
                new.append((row, probed))
            else:
                unsure.append(row)
        alike = Counter(row.samples for row, _ in new)
        for row, probed in new:
            if probed.whole or alike[row.samples] == 1:
                self._add(row, probed)
            else:
                unsure.append(row)
        self._compare(unsure, outdated)
        self._check(outdated, are_new=True)

    def _may_be_leftover(self, probed: ProbedFile) -> bool:
        """Return whether windows of no file may be those of a file, by its length."""
        stated = probed.seconds
        return any(
            stated is None or abs(stated - seconds) <= max(SECONDS_OFF, SHARE_OFF * stated)
            for seconds in self._leftovers
        )

    def _compare(self, unsure: list[FileRow], outdated: list[FileRow]) -> None:
        """Hash all bytes of files that may hold what others do, and of these others."""
        own = {row.id for row in unsure}
        alike = (self._known.list_unhashed(samples) for samples in {row.samples for row in unsure})
        others = [row for rows in alike for row in rows if row.id not in own]
        for row, probed in self._probe([*others, *unsure], probe_whole_file, "Comparing"):
            if row.id not in own:
                if not isinstance(probed, VideoError) and probed.samples == get_samples(row):
                    now = row._replace(samples=probed.samples, whole=probed.whole)
                    self._known.add(now)
                    self._keep(now)
            elif isinstance(probed, VideoError):
                self._keep_row(describe_failure(row, probed))
            elif (known := self._known.find(row.id, probed).row) is not None:
                self._adopt(row, known, outdated)
            else:
                self._add(row, probed)

    def _adopt(self, row: FileRow, known: FileRow, outdated: list[FileRow]) -> None:
        """Give a file the windows of another one that holds the same."""
        shared = ("content", "seconds", "windows", "whole", "reading")
        row = row._replace(**{name: getattr(known, name) for name in shared})
        self._work.rows.append(row)
        if row.reading < READING_VERSION:
            outdated.append(row)
        else:
            self._keep(row)

    def _add(self, row: FileRow, probed: ProbedFile) -> None:
        """Add a file to those to embed, unless windows of what it holds are stored."""
        content = make_content_id(probed.whole) if probed.whole else ""
        row = row._replace(content=content, whole=probed.whole, reading=READING_VERSION)
        if content in self._stored:  # as a run left them that ended before it wrote the row
            windows, seconds = self._stored[content]
            return self._keep_row(row._replace(windows=windows, seconds=seconds))
        key = content or row.samples
        if key not in self._work.waiting:
            source = self._make_source(row)
            self._work.sources.append(dataclasses.replace(source, key=key, samples=row.samples))
            self._work.seconds[key] = probed.seconds
        self._work.waiting.setdefault(key, []).append(row)
        return None

    def _keep_row(self, row: FileRow) -> None:
        self._work.rows.append(row)
        self._keep(row)

    def _probe(
        self, rows: list[FileRow], probe: Callable[[Source], T], label: str
    ) -> Generator[tuple[FileRow, T | VideoError], None, None]:
        """Yield each row and what `probe` finds in its file."""
        found = probe_files(map(self._make_source, rows), workers=self._workers, probe=probe)
        with contextlib.closing(found):
            tracked = self._progress.track(found, len(rows), label)
            for row, (_, result) in zip(rows, tracked, strict=True):
                yield row, result

    def _make_source(self, row: FileRow) -> Source:
        place, own = self._place, row.root == self._place.root
        # What was only seen by the walk may have changed since.
        state = FileState(row.size, row.mtime_ns) if row.samples or row.content else None
        root = str(place.folder if own else decode_root(self._store.uri, row.root))
        file = os.path.join(root, os.fsdecode(row.path))
        return Source(key=row.id, file=file, root=root, state=state)


def describe_failure(row: FileRow, error: VideoError) -> FileRow:
    """Make the row of a file that could not be opened, or that is something else than a video."""
    if is_passed_over(row.path, error.kind):
        return make_failure_row(row, error.kind, PASSED_OVER)
    return make_failure_row(row, error.reason, "open")


def make_failure_row(row: FileRow, reason: str, stage: str) -> FileRow:
    """Make the row of a file that failed.

    Its time is wrong on purpose if the reason may have passed by the next run, which then looks at
    the file again.
    """
    mtime_ns = NO_TIME if reason in PASSING else row.mtime_ns
    return FileRow(
        row.id, row.root, row.path, row.size, mtime_ns,
        reason=reason, stage=stage, reading=READING_VERSION,
    )  # fmt: skip


def locate_file(store: Store, row: FileRow) -> str:
    """Return where a file should be."""
    return os.path.join(decode_root(store.uri, row.root), os.fsdecode(row.path))
