"""A run of `tempme index`: what is new in a folder gets windows and vectors.

What is stored is whole at any moment: the windows of a video are written before the row of its
file, which is what makes them count, and both only when all of them are there. So a run that is
ended, in whatever way, is gone on with by the next.
"""

import contextlib
import dataclasses
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tempme_jax.search.indexing.embedding import Finished
from tempme_jax.search.indexing.plan import Looked, Place, Work, is_mine, look, plan
from tempme_jax.search.indexing.progress import Progress
from tempme_jax.search.indexing.reading import Failed
from tempme_jax.search.indexing.report import Failure, Report, write_failures
from tempme_jax.search.paths import is_remote
from tempme_jax.search.store.locking import locked
from tempme_jax.search.store.rows import FileRow, WindowRow, window_id
from tempme_jax.search.store.store import Store

# What was embedded is stored after so many windows or so many seconds.
WINDOWS_A_COMMIT, SECONDS_A_COMMIT = 1000, 10.0
# Every commit leaves small files; they are put together now and then.
COMMITS_BETWEEN_TIDYING = 50


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How a run goes about it.

    Attributes:
        workers: processes that decode; None: one for every core but one.
        retry_failed: whether files that failed before are tried again.
        shard: (i, n) does only every n-th file, beginning with the i-th; None: all.
        budget: seconds after which the run stops, to be gone on with; None: none.
    """

    workers: int | None = None
    retry_failed: bool = False
    shard: tuple[int, int] | None = None
    budget: float | None = None

    def __post_init__(self):
        """Checks the values."""
        if self.shard and not 0 <= self.shard[0] < self.shard[1]:
            number, of = self.shard
            raise ValueError(f"shard {number}/{of} must be one of 0/{of} to {of - 1}/{of}")
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"workers={self.workers} must be at least 1")

    @property
    def processes(self) -> int:
        """How many processes decode: one core is left to what embeds."""
        usable = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))(0)
        return self.workers or max(1, len(usable) - 1)


# Embeds what is to be read: yields videos as they are done.
Embed = Callable[[Work], Iterator[Finished | Failed]]


def run(
    store: Store, place: Place, embed: Embed, options: Options, *, progress: Progress
) -> Report:
    """Brings the index up to date with a folder.

    Raises:
        VideoIndexError: the folder has no video; another process indexes; the store cannot be
            written. What was stored before stays.
    """
    started = time.monotonic()
    with locked(store.uri, options.shard):
        seen = look(store, place, retry_failed=options.retry_failed, shard=options.shard)
        report = Report(root=place.folder, found=seen.found)
        report.unchanged = len(seen.difference.unchanged)
        work = plan(
            store, place, seen.difference.look_at, workers=options.processes, progress=progress
        )
        writer = Writer(store, work.rows)
        count_known(report, work.rows, seen.difference.gone)
        deadline = started + options.budget if options.budget else None
        try:
            embed_all(work, embed, writer, report, deadline, progress)
        finally:
            progress.end()
            writer.flush()
        store.remove_files([row.id for row in seen.difference.gone])
        store.tidy()
        report.failures = failures_of(store, place, seen, options.shard)
        if not is_remote(store.uri):
            write_failures(report.failures, failures_file(store.uri, options.shard))
    report.seconds = time.monotonic() - started
    return report


def embed_all(
    work: Work,
    embed: Embed,
    writer: "Writer",
    report: Report,
    deadline: float | None,
    progress: Progress,
) -> None:
    """Embeds what is new, until it is done or the time is up."""
    if not work.sources:
        return
    progress.begin(list(work.seconds.values()))
    left = dict(work.waiting)
    with contextlib.closing(embed(work)) as done, stopping(report):
        for video in done:
            files = left.pop(video.key)
            if isinstance(video, Failed):
                writer.fail(files, video)
            else:
                writer.add(files, video)
                report.embedded += len(files)
                report.windows += len(video.spans)
                report.hours += video.seconds / 3600
            taken = work.seconds[video.key] or 0.0
            progress.embedded(taken, bad=isinstance(video, Failed))
            if deadline and time.monotonic() > deadline and left:
                report.stopped = "The time is up"
                break
    report.left = sum(map(len, left.values()))


@contextlib.contextmanager
def stopping(report: Report) -> Iterator[None]:
    """Ctrl-C ends a run as its budget does: what is done is stored."""
    try:
        yield
    except KeyboardInterrupt:
        report.stopped = "Interrupted"


class Writer:
    """Stores rows, many at once, but not too late."""

    def __init__(self, store: Store, rows: Iterable[FileRow]):
        """Begins with rows of files that have no windows to store."""
        self.store, self.commits = store, 0
        self.files, self.windows = list(rows), []
        self.last = time.monotonic()
        self.flush()

    def add(self, files: list[FileRow], video: Finished) -> None:
        """A video, under the names of all files of its content."""
        content = files[0].content
        for number, ((start, end), vector, thumbnail) in enumerate(
            zip(video.spans, video.vectors, video.thumbnails, strict=True)
        ):
            name = window_id(content, number)
            self.windows.append(WindowRow(name, content, start, end, vector, thumbnail))
        windows = len(video.spans)
        self.files += [row._replace(windows=windows, seconds=video.seconds) for row in files]
        self._flush_in_time()

    def fail(self, files: list[FileRow], video: Failed) -> None:
        """A video that could not be read."""
        reason = {"content": "", "reason": video.reason, "stage": video.stage}
        self.files += [row._replace(**reason) for row in files]
        self._flush_in_time()

    def _flush_in_time(self) -> None:
        late = time.monotonic() - self.last > SECONDS_A_COMMIT
        if late or len(self.windows) >= WINDOWS_A_COMMIT:
            self.flush()

    def flush(self) -> None:
        """Stores what is waiting."""
        windows, self.windows = self.windows, []
        files, self.files = self.files, []  # also if this fails: windows must not be added twice
        if files:
            self.store.commit(windows, files)
            self.commits += 1
            if self.commits % COMMITS_BETWEEN_TIDYING == 0:
                self.store.tidy()
        self.last = time.monotonic()


def count_known(report: Report, rows: list[FileRow], gone: list[FileRow]) -> None:
    """Counts the files whose content has windows already, and those that are gone."""
    contents = Counter(row.content for row in gone if row.content)
    known = Counter(row.content for row in rows if row.content)
    report.moved = (contents & known).total()
    report.known = known.total() - report.moved
    report.gone = len(gone) - report.moved


def failures_of(
    store: Store, place: Place, seen: Looked, shard: tuple[int, int] | None
) -> list[Failure]:
    """All files of a folder that could not be indexed, also those of former runs."""
    rows = [row for row in store.files() if row.root == place.root and row.reason]
    if shard:
        rows = [row for row in rows if is_mine(row.size, shard)]
    failures = [Failure(row.path, row.reason, row.stage) for row in rows]
    failures += [Failure(skipped.path, skipped.reason, "walk") for skipped in seen.skipped]
    return sorted(failures)


def failures_file(uri: str, shard: tuple[int, int] | None) -> Path:
    """Where failed.jsonl is, of a run or of a shard of one."""
    name = f"failed-{shard[0]}-of-{shard[1]}.jsonl" if shard else "failed.jsonl"
    return Path(uri) / name
