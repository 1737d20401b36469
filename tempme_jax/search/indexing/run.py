"""A run of `tempme index`: embed the new videos of a folder and store their windows.

The store is consistent at any moment. The windows of a video are written first, then the row of its
file, which makes them count; both are written only once all windows are embedded. What is done of a
longer video is kept elsewhere, see `unfinished`. So the next run resumes after an interruption of
any kind.
"""

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from typing import Any

from tempme_jax.model import Model
from tempme_jax.search.arguments import check_count, check_seconds, check_shard
from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.indexing.embedding import Advance, EmbeddedVideo, embed_locally
from tempme_jax.search.indexing.frame_rows import make_window_rows
from tempme_jax.search.indexing.identify import make_content_id
from tempme_jax.search.indexing.outcome import count_known, report_failures
from tempme_jax.search.indexing.plan import Planner, Work, make_failure_row
from tempme_jax.search.indexing.progress import IndexProgress
from tempme_jax.search.indexing.reading import FailedVideo
from tempme_jax.search.indexing.report import IndexReport
from tempme_jax.search.indexing.subtitles import add_subtitles
from tempme_jax.search.indexing.survey import VideoFolder, survey_folder
from tempme_jax.search.indexing.unfinished import UnfinishedVideos
from tempme_jax.search.store.locking import lock_index
from tempme_jax.search.store.rows import FileRow, WindowRow
from tempme_jax.search.store.store import Store
from tempme_jax.video.opening import CHANGED, PASSING
from tempme_jax.video.windows import Sampling

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
        if self.workers is not None:
            check_count("workers", self.workers)
        if self.budget is not None:
            check_seconds("budget", self.budget)
        if self.shard is not None:
            check_shard(self.shard)
        if self.shard and not 0 <= self.shard[0] < self.shard[1]:
            number, of = self.shard
            raise ValueError(f"shard {number}/{of} must be one of 0/{of} to {of - 1}/{of}")

    @property
    def processes(self) -> int:
        """Number of processes that decode; by default one core is left to embedding."""
        usable = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))(0)
        return self.workers or max(1, len(usable) - 1)


# Embeds the videos of some work; yields each as soon as it is done, and how far others have come.
Embedded = Generator[EmbeddedVideo | FailedVideo | Advance, None, None]
Embed = Callable[[Work, UnfinishedVideos], Embedded]


def make_embed(
    open_model: Callable[[], Model],
    sampling: Sampling,
    options: IndexOptions,
    progress: IndexProgress,
    *,
    per_frame: bool = False,
) -> Embed:
    """Return the function that embeds: in this process or on a Ray cluster.

    The model is opened only if there is something to embed. `per_frame` is that of `make_embedder`.
    """

    def embed(work: Work, unfinished: UnfinishedVideos) -> Embedded:
        if options.ray is None:
            return embed_locally(
                work, open_model(), sampling, per_frame=per_frame,
                workers=options.processes, unfinished=unfinished, progress=progress,
            )  # fmt: skip
        from tempme_jax.search.indexing.distributed import embed_on_cluster

        cluster = {"address": options.ray, "actors": options.workers}
        return embed_on_cluster(work, open_model(), sampling, per_frame=per_frame, **cluster)

    return embed


def update_index(
    store: Store,
    place: VideoFolder,
    embed: Embed,
    options: IndexOptions,
    progress: IndexProgress | None = None,
) -> IndexReport:
    """Bring an index up to date with a folder; say nothing of it without `progress`.

    Raises:
        VideoIndexError: the folder has no video, another process writes to the index, or the
            store cannot be written. What was stored before is intact.
    """
    started, progress = time.monotonic(), progress or IndexProgress(quiet=True)
    unfinished = UnfinishedVideos(store.uri, header := store.header, place.root)
    with lock_index(store.uri, options.shard):
        refuse_rebuilt(store, header)
        with progress.show("Comparing the folder with the index"):
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
        add_texts = partial(
            add_subtitles, report, store.uri, place, survey.content,
            workers=options.processes, shard=options.shard, progress=progress, deadline=deadline,
        )  # fmt: skip
        try:
            planner = Planner(
                store, place, survey,
                keep=writer.keep, workers=options.processes, progress=progress, deadline=deadline,
            )  # fmt: skip
            work = planner.plan()
            writer.flush()
            failures = add_texts(survey.rows)  # of earlier runs, which may have had no time left
            count_known(report, work, difference.gone)
            finished = embed_new_videos(work, embed, unfinished, writer, report, deadline, progress)
            if work.unchecked:
                report.stopped = report.stopped or "The time is up"
                report.left += work.unchecked
        finally:
            progress.end()
            writer.flush()
        unfinished.remove(finished)
        if not report.stopped and not options.shard:
            unfinished.clear()
        remove_replaced(store, work)
        store.remove_files([row.id for row in difference.gone + difference.left_out])
        store.tidy()
        if not report.stopped and (finished or work.rows or difference.gone or difference.left_out):
            failures = add_texts(store.read_files(), is_last=True)
        report_failures(report, store, survey, place, options.shard, failures)
    report.seconds = time.monotonic() - started
    return report


def refuse_rebuilt(store: Store, header: Mapping[str, Any]) -> None:
    """Raise a VideoIndexError if the index has another header now than the model was opened for."""
    store.refresh()
    if store.header != header:
        raise VideoIndexError(f"{store.uri} was rebuilt by another process; run this again")


def embed_new_videos(
    work: Work,
    embed: Embed,
    unfinished: UnfinishedVideos,
    writer: "Writer",
    report: IndexReport,
    deadline: float | None,
    progress: IndexProgress,
) -> list[str]:
    """Embed and store the videos of `work`, until all are done or the deadline has passed.

    Returns:
        The keys of those that are done.
    """
    if not work.sources:
        return []
    progress.begin(work.seconds, {source.key: source.file for source in work.sources})
    left = dict(work.waiting)
    try:
        with contextlib.closing(embed(work, unfinished)) as videos:
            for video in videos:
                if isinstance(video, Advance):
                    progress.advance(video)
                else:
                    failed = store_video(work, left.pop(video.key), video, writer, report)
                    progress.count_video(video.key, bad=failed)
                is_late = deadline and time.monotonic() > deadline
                if is_late and left and is_progress(video, unfinished):
                    report.stopped = "The time is up"
                    break
    except KeyboardInterrupt:  # as if the time were up: finished work is stored
        report.stopped = "Interrupted"
    report.left = sum(map(len, left.values()))
    report.begun, report.begun_seconds = unfinished.measure(left)
    return [key for key in work.waiting if key not in left]


def is_progress(video: EmbeddedVideo | FailedVideo | Advance, unfinished: UnfinishedVideos) -> bool:
    """Return whether something was done that the next run need not do again."""
    if isinstance(video, Advance):
        return unfinished.folder is not None and not video.is_resumed
    return True


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
        if content not in stored:
            about = self.store.header, content, video.spans, video.vectors, video.thumbnails
            self.windows += make_window_rows(*about)
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


def remove_replaced(store: Store, work: Work) -> None:
    """Remove the windows that an earlier version made of files which have been embedded anew."""
    if work.renewed:
        needed = {row.content for row in store.read_files()}
        store.remove_contents({row.content for row in work.renewed.values()} - needed)
