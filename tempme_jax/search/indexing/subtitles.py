"""Bring the subtitles of an index up to date with a folder.

Files of subtitles belong to a video by their names, tracks in a video to what it holds. Both are
read in child processes once the video is indexed; only what is new or has changed is read.
"""

import contextlib
import os
import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.indexing.progress import IndexProgress
from tempme_jax.search.indexing.report import Failure, IndexReport
from tempme_jax.search.indexing.survey import VideoFolder, select_shard
from tempme_jax.search.indexing.walk import FolderContent, FoundFile
from tempme_jax.search.paths import is_remote
from tempme_jax.search.store.rows import FileRow
from tempme_jax.search.store.subtitle_file import write_subtitles
from tempme_jax.search.store.subtitles import Subtitles, TrackRow
from tempme_jax.video.errors import VideoError
from tempme_jax.video.opening import PASSING, FileState
from tempme_jax.video.subtitles import SubtitleRequest, TextTrack, join_lines, read_subtitles
from tempme_jax.video.workers import decode_all
from tempme_jax.words import pluralize

STAGE = "subtitles"
# Words are looked up in lines that follow each other within so many seconds.
PASSAGE_SECONDS = 15.0
# What has been read is stored after so many files or so many seconds.
FILES_A_COMMIT, SECONDS_A_COMMIT = 500, 2.0

# What was read of a file, or why it could not be.
Read = tuple[SubtitleRequest, list[TextTrack] | VideoError]


class SubtitleUpdate(NamedTuple):
    """What became of the subtitles of a folder.

    Attributes:
        read: number of files and tracks of subtitles that were read in this run.
        left: number of files that are still to be looked at, as the time was up.
        failures: all files of subtitles and tracks that cannot be read, of this run and before.
    """

    read: int
    left: int
    failures: list[Failure]


def add_subtitles(
    report: IndexReport,
    store_uri: str,
    place: VideoFolder,
    content: FolderContent,
    every: list[FileRow],
    *,
    is_last: bool = False,
    **options,
) -> list[Failure]:
    """Do as `update_subtitles`, add to the report, and return what cannot be read.

    Whatever happens to them, the videos are indexed. `is_last` says whether nothing but the end of
    the run follows, which is not left out if the user interrupts it here.
    """
    try:
        update = update_subtitles(store_uri, place, content, every, **options)
    except VideoIndexError as error:
        return [Failure(STAGE.encode(), str(error), STAGE)]
    except KeyboardInterrupt:
        if not is_last:
            raise
        report.stopped = "Interrupted"
        return []
    report.subtitles += update.read
    report.subtitles_left = update.left
    return update.failures


def update_subtitles(
    store_uri: str,
    place: VideoFolder,
    content: FolderContent,
    every: list[FileRow],
    *,
    workers: int | None,
    progress: IndexProgress,
    shard: tuple[int, int] | None = None,
    deadline: float | None = None,
) -> SubtitleUpdate:
    """Read what is new of the subtitles of the indexed videos of a folder, and store it.

    Args:
        store_uri: address of the index.
        place: the folder.
        content: what it holds.
        every: the rows of all files of the index, also of other folders.
        workers, progress, shard: as for `VideoIndex.add`.
        deadline: a value of `time.monotonic`, after which the rest is left to the next run.

    Raises:
        VideoIndexError: they cannot be stored.
    """
    rows = [row for row in every if row.root == place.root and row.content]
    rows = select_shard(rows, shard) if shard else rows
    by_path = {row.path: row for row in rows}
    wanted = {
        TrackRow(by_path[video.path].id, file.path): file
        for video, file in content.subtitles
        if video.path in by_path
    }
    if is_remote(store_uri):
        reason = f"{pluralize(len(wanted), 'file')} left out: an index in an object store has none"
        return SubtitleUpdate(0, 0, [Failure(STAGE.encode(), reason, STAGE)] if wanted else [])
    with write_subtitles(store_uri) as subtitles:
        stored = {(track.owner, track.name): track for track in subtitles.read_tracks()}
        seen = {file.path for file in content.found}
        walked = {row.id for row in rows if row.path in seen}  # elsewhere files may be out of sight
        known = {row.id for row in every} | {row.content for row in every}
        subtitles.remove(
            track
            for track in stored.values()
            if (track.owner in walked and TrackRow(*track[:2]) not in wanted)
            or (not shard and track.owner not in known)
        )
        subtitles.commit()
        requests = list_requests(place, rows, wanted, stored)
        done, read = store_tracks(subtitles, requests, workers, progress, deadline)
        own = {row.id: row for row in rows} | {row.content: row for row in rows}
        failures = [
            explain_track(track, own[track.owner])
            for track in subtitles.read_tracks()
            if track.reason and track.owner in own
        ]
    return SubtitleUpdate(read, len(requests) - done, sorted(failures))


def list_requests(
    place: VideoFolder,
    rows: Iterable[FileRow],
    wanted: Mapping[TrackRow, FoundFile],
    stored: Mapping[tuple[str, bytes], TrackRow],
) -> list[SubtitleRequest]:
    """List the files that are to be read; each has the row of its track as key."""
    requests = []
    for track, file in wanted.items():
        now = track._replace(size=file.size, mtime_ns=file.mtime_ns)
        before = stored.get((track.owner, track.name))
        if before is None or (before.size, before.mtime_ns) != (now.size, now.mtime_ns):
            requests.append(make_request(place, now, file.path, file.size, file.mtime_ns))
    looked = {owner for owner, name in stored if not name}
    for row in rows:
        if row.content not in looked:
            looked.add(row.content)  # of copies one is enough
            track = TrackRow(row.content, b"")
            requests.append(make_request(place, track, row.path, row.size, row.mtime_ns))
    return requests


def make_request(
    place: VideoFolder, track: TrackRow, path: bytes, size: int, mtime_ns: int
) -> SubtitleRequest:
    """Make the request for a file of a folder."""
    root = str(place.folder)
    return SubtitleRequest(
        file=os.path.join(root, os.fsdecode(path)), root=root, state=FileState(size, mtime_ns),
        in_video=not track.name, key=track,
    )  # fmt: skip


def store_tracks(
    subtitles: Subtitles,
    requests: list[SubtitleRequest],
    workers: int | None,
    progress: IndexProgress,
    deadline: float | None,
) -> tuple[int, int]:
    """Read files and store what they hold; return how many were looked at, and how many tracks."""
    done = tracks = 0
    waiting: list[Read] = []
    stored = time.monotonic()
    try:
        with contextlib.closing(
            decode_all(requests, workers=workers, decode=read_subtitles)
        ) as found:
            label = "Looking for subtitles in"
            for each in progress.track(found, len(requests), label):
                done += 1
                waiting.append(each)
                now = time.monotonic()
                if len(waiting) >= FILES_A_COMMIT or now - stored > SECONDS_A_COMMIT:
                    part, waiting, stored = waiting, [], now
                    tracks += store_read(subtitles, part)
                if deadline and now > deadline:
                    break
    finally:  # also of a run that is interrupted
        tracks += store_read(subtitles, waiting)
    return done, tracks


def store_read(subtitles: Subtitles, found: list[Read]) -> int:
    """Store what was read of some files, in one step; return how many tracks that were."""
    tracks = 0
    for request, result in found:
        row: TrackRow = request.key
        if isinstance(result, VideoError):
            if result.reason not in PASSING:  # else the next run looks again
                subtitles.replace(row._replace(reason=result.reason), [])
            continue
        if request.in_video:
            subtitles.replace(row, [])
        for track in result:
            name = str(track.number).encode() if request.in_video else row.name
            passages = join_lines(track.lines, PASSAGE_SECONDS)
            now = row._replace(name=name, label=track.language, reason=track.reason)
            subtitles.replace(now, passages)
            tracks += not track.reason
    subtitles.commit()
    return tracks


def explain_track(track: TrackRow, row: FileRow) -> Failure:
    """Make the failure of a track that cannot be read; `row` is that of its video."""
    if track.owner == row.id:
        return Failure(track.name, track.reason, STAGE)
    which = f"track {track.name.decode()} of its subtitles" if track.name else "its subtitles"
    return Failure(row.path, f"{which} cannot be read ({track.reason})", STAGE)
