"""A run of `tempme index`: embed the new videos of a folder and store their windows.

The store is consistent at any moment. The windows of a video are written first, then the row of its
file, which makes them count; both are written only once all windows are embedded. So the next run
resumes after an interruption of any kind.
"""

import contextlib
import dataclasses
import os
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

from tempme_jax.model import Model
from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.indexing.embedding import EmbeddedVideo, embed_locally
from tempme_jax.search.indexing.identify import make_content_id
from tempme_jax.search.indexing.plan import Planner, Work, make_failure_row
from tempme_jax.search.indexing.progress import IndexProgress
from tempme_jax.search.indexing.reading import FailedVideo
from tempme_jax.search.indexing.report import PASSED_OVER, Failure, IndexReport, write_failures
from tempme_jax.search.indexing.survey import Survey, VideoFolder, select_shard, survey_folder
from tempme_jax.search.indexing.walk import label_suffix
from tempme_jax.search.indexing.windows import Sampling
from tempme_jax.search.paths import decode_root, encode_root, is_remote
from tempme_jax.search.store.locking import lock_index
from tempme_jax.search.store.rows import FileRow, WindowRow, make_window_id
from tempme_jax.search.store.store import Store
from tempme_jax.video.opening import CHANGED, PASSING

# Embedded videos are stored after so many windows or so many seconds.
WINDOWS_A_COMMIT, SECONDS_A_COMMIT = 1000, 10.0
# Every commit leaves small files; the tables are compacted after so many commits.
COMMITS_BETWEEN_TIDYING = 50


@dataclasses.dataclass(frozen=True, kw_only=True)
class IndexOptions:
    """Options of a run, the arguments of `VideoIndex.add`."""

    workers: int | None = None
    retry_failed: bool = False
    shard: tuple[int, int] | None = None
    budget: float | None = None
    ray: str | None = None
    exclude: Sequence[str] = ()

    def __post_init__(self):
        """Check the values."""
        if self.shard and not 0 <= self.shard[0] < self.shard[1]:
            number, of = self.shard
            raise ValueError(f"shard {number}/{of} must be one of 0/{of} to {of - 1}/{of}")
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"workers={self.workers} must be at least 1")

    @property
    def processes(self) -> int:
        """Number of processes that decode; by default one core is left to embedding."""
        usable = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))(0)
        return self.workers or max(1, len(usable) - 1)


# Embeds the videos of some work, and yields each as soon as it is done.
Embed = Callable[[Work], Generator[EmbeddedVideo | FailedVideo, None, None]]


def make_embed(open_model: Callable[[], Model], sampling: Sampling, options: IndexOptions) -> Embed:
    """Return the function that embeds: in this process or on a Ray cluster.

    The model is opened only if there is something to embed.
    """

    def embed(work: Work) -> Generator[EmbeddedVideo | FailedVideo, None, None]:
        if options.ray is None:
            return embed_locally(work, open_model(), sampling, workers=options.processes)
        from tempme_jax.search.indexing.distributed import embed_on_cluster

        cluster = {"address": options.ray, "actors": options.workers}
        return embed_on_cluster(work, open_model(), sampling, **cluster)

    return embed


def update_index(
    store: Store, place: VideoFolder, embed: Embed, options: IndexOptions, *, quiet: bool = False
) -> IndexReport:
    """Bring an index up to date with a folder.

    Raises:
        VideoIndexError: the folder has no video, another process writes to the index, or the
            store cannot be written. What was stored before is intact.
    """
    started, progress = time.monotonic(), IndexProgress(quiet=quiet)
    with lock_index(store.uri, options.shard):
        store.prepare(alone=options.shard is None)
        survey = survey_folder(
            store, place,
            retry_failed=options.retry_failed, shard=options.shard, exclude=options.exclude,
        )  # fmt: skip
        difference = survey.difference
        report = IndexReport(root=place.folder, found=survey.found)
        report.unchanged = len(difference.unchanged)
        writer = Writer(store)
        deadline = started + options.budget if options.budget else None
        try:
            planner = Planner(
                store, place, survey,
                keep=writer.keep, workers=options.processes, progress=progress, deadline=deadline,
            )  # fmt: skip
            work = planner.plan()
            writer.flush()
            count_known(report, work, difference.gone)
            embed_new_videos(work, embed, writer, report, deadline, progress)
            if work.unchecked:
                report.stopped = report.stopped or "The time is up"
                report.left += work.unchecked
        finally:
            progress.end()
            writer.flush()
        remove_replaced(store, work)
        store.remove_files([row.id for row in difference.gone + difference.left_out])
        store.tidy()
        rows = list_failed_rows(store, place, options.shard)
        report.failures = list_failures(rows, survey)
        count_others(report, rows, survey)
        if not is_remote(store.uri):
            write_failures(report.failures, locate_failures_file(store.uri, options.shard))
    report.seconds = time.monotonic() - started
    return report


def embed_new_videos(
    work: Work,
    embed: Embed,
    writer: "Writer",
    report: IndexReport,
    deadline: float | None,
    progress: IndexProgress,
) -> None:
    """Embed and store the videos of `work`, until all are done or the deadline has passed."""
    if not work.sources:
        return
    progress.begin(list(work.seconds.values()))
    left = dict(work.waiting)
    try:
        with contextlib.closing(embed(work)) as videos:
            for video in videos:
                failed = store_video(work, left.pop(video.key), video, writer, report)
                stated = work.seconds[video.key] or 0.0
                progress.count_video(stated, bad=failed)
                if deadline and time.monotonic() > deadline and left:
                    report.stopped = "The time is up"
                    break
    except KeyboardInterrupt:  # as if the time were up: finished work is stored
        report.stopped = "Interrupted"
    report.left = sum(map(len, left.values()))


def store_video(
    work: Work,
    files: list[FileRow],
    video: EmbeddedVideo | FailedVideo,
    writer: "Writer",
    report: IndexReport,
) -> bool:
    """Store a video for all files that hold it; return whether it failed."""
    if isinstance(video, EmbeddedVideo) and files[0].whole not in ("", video.whole):
        video = FailedVideo(video.key, "scan", CHANGED)
    if isinstance(video, EmbeddedVideo):
        writer.add(files, video, work.contents)
        report.embedded += len(files)
        report.renewed += sum(row.id in work.renewed for row in files)
        report.windows += len(video.spans)
        report.hours += video.seconds / 3600
        return False
    for row in files:
        if row.id in work.renewed:  # what an earlier version read of it stays
            before = work.renewed.pop(row.id)
            tries_again = video.reason in PASSING
            writer.keep(before if tries_again else before._replace(reading=row.reading))
            report.kept += 1
        else:
            writer.keep(make_failure_row(row, video.reason, video.stage))
    return True


class Writer:
    """Collects rows, and stores many at once, at the latest after `SECONDS_A_COMMIT`."""

    def __init__(self, store: Store):
        """Write to a store."""
        self.store, self.commits = store, 0
        self.files: list[FileRow] = []
        self.windows: list[WindowRow] = []
        self.last = time.monotonic()

    def keep(self, row: FileRow) -> None:
        """Add the row of a file that has no windows to store."""
        self.files.append(row)
        self._flush_in_time()

    def add(self, files: list[FileRow], video: EmbeddedVideo, stored: set[str]) -> None:
        """Add a video under the names of all files that hold it.

        Its windows are left out if `stored`, the ids of contents that have windows, names it.
        """
        content = make_content_id(video.whole)
        rows = enumerate(zip(video.spans, video.vectors, video.thumbnails, strict=True))
        for number, ((start, end), vector, thumbnail) in () if content in stored else rows:
            window_id = make_window_id(content, number)
            self.windows.append(WindowRow(window_id, content, start, end, vector, thumbnail))
        stored.add(content)
        found = {"windows": len(video.spans), "seconds": video.seconds, "whole": video.whole}
        self.files += [row._replace(content=content, **found) for row in files]
        self._flush_in_time()

    def _flush_in_time(self) -> None:
        late = time.monotonic() - self.last > SECONDS_A_COMMIT
        if late or len(self.windows) >= WINDOWS_A_COMMIT:
            self.flush()

    def flush(self) -> None:
        """Store all rows added so far."""
        windows, self.windows = self.windows, []
        files, self.files = self.files, []  # even if this fails: windows must not be added twice
        if files:
            self.store.commit(windows, files)
            self.commits += 1
            if self.commits % COMMITS_BETWEEN_TIDYING == 0:
                self.store.tidy()
        self.last = time.monotonic()


def count_known(report: IndexReport, work: Work, gone: list[FileRow]) -> None:
    """Count the files whose content has windows already, and those that are gone."""
    contents = Counter(row.content for row in gone if row.content)
    known = Counter(row.content for row in work.rows if row.content)
    report.moved = (contents & known).total()
    report.known = known.total() - report.moved
    report.gone = len(gone) - report.moved
    report.reasons = dict(work.reasons)


def remove_replaced(store: Store, work: Work) -> None:
    """Remove the windows that an earlier version made of files which have been embedded anew."""
    if work.renewed:
        needed = {row.content for row in store.read_files()}
        store.remove_contents({row.content for row in work.renewed.values()} - needed)


def list_failed_rows(
    store: Store, place: VideoFolder, shard: tuple[int, int] | None
) -> list[FileRow]:
    """List the rows of all files of a folder that could not be indexed, by this run or before."""
    rows = [row for row in store.read_files() if row.root == place.root and row.reason]
    return select_shard(rows, shard) if shard else rows


def list_failures(rows: list[FileRow], survey: Survey) -> list[Failure]:
    """List all files of a folder that could not be indexed, but those that are no videos."""
    failures = [Failure(r.path, r.reason, r.stage) for r in rows if r.stage != PASSED_OVER]
    failures += [Failure(path, reason, "walk") for path, reason in survey.content.skipped]
    return sorted(failures)


def count_others(report: IndexReport, rows: list[FileRow], survey: Survey) -> None:
    """Count the files that are something else than videos, and what was left out."""
    kinds = (f"{label_suffix(r.path)} ({r.reason})" for r in rows if r.stage == PASSED_OVER)
    report.passed_over = survey.content.passed_over + Counter(kinds)
    report.left_out = Counter(label for _, label in survey.content.left_out)
    report.withdrawn = sum(not row.reason for row in survey.difference.left_out)
    report.unused = survey.content.unused


def locate_failures_file(uri: str, shard: tuple[int, int] | None) -> Path:
    """Return the path of failed.jsonl, or of the file that a shard writes instead."""
    name = f"failed-{shard[0]}-of-{shard[1]}.jsonl" if shard else "failed.jsonl"
    return Path(uri) / name


def remove_folder(store: Store, folder: Path) -> int:
    """Implement `VideoIndex.forget`."""
    root = encode_root(store.uri, folder)
    with lock_index(store.uri):
        finished = store.finish_forgetting()
        rows = store.read_files()
        removed = [row for row in rows if row.root == root]
        if not removed and not finished:
            folders = sorted({str(decode_root(store.uri, row.root)) for row in rows})
            raise VideoIndexError(
                f"{folder} is not in the index {store.uri}, which holds {', '.join(folders)}"
            )
        if removed:
            store.forget([row.id for row in removed])
    return len(removed)
