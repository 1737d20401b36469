"""The work behind the addresses of `routes`: plain functions, run in threads, safe in many."""

import contextlib
import dataclasses
import logging
import os
import threading
import time
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException

from tempme_jax.search.paths import is_remote
from tempme_jax.search.serve import posted, previews
from tempme_jax.search.serve.queues import Places, Threads
from tempme_jax.search.serve.schemas import (
    FailureAnswer,
    FailuresAnswer,
    StatsAnswer,
    format_path,
    replace_unencodable,
)
from tempme_jax.words import printable_name

if TYPE_CHECKING:  # the module imports the database
    from tempme_jax.model import Model
    from tempme_jax.search.index import VideoIndex

# Most threads for each kind of work, and most requests that wait for one; all others are refused.
SEARCHES, MERGES, READERS, THUMBNAILS = (4, 32), (2, 8), (32, 64), (16, 128)
PARTS, UPLOADS = (2, 16), (1, 4)
# Most videos that are sent, and most files that are received, at the same time.
STREAMS, RECEIVED = 64, 2
# Seconds that a request waits for the index to be read again, after another process changed it;
# and fewest between two looks at an index in an object store.
PATIENCE, REFRESH_REMOTE = 5.0, 3.0
# Seconds in which the log says only once that an index cannot be read again.
TOLD_SECONDS = 60.0
PICTURES_KEPT, MOST_FAILURES = 32, 500
NOTHING_INDEXED = "Nothing is indexed yet: tempme index FOLDER finds the videos in a folder."
log = logging.getLogger(__name__)


@dataclasses.dataclass
class Cache:
    """Answers that hold until the index changes; a changed index gets a new cache.

    Attributes:
        folders: the folders with videos, by the names that the page shows.
        stats: the answer of /api/stats.
        failures: the answer of /api/failures.
        pictures: PNG files of merged tokens by window, the last used ones at the end.
    """

    folders: dict[str, str] | None = None
    stats: StatsAnswer | None = None
    failures: FailuresAnswer | None = None
    pictures: OrderedDict[str, bytes] = dataclasses.field(default_factory=OrderedDict)


class Service:
    """Answers from one index.

    Args:
        index: the index to search. After another process changed it, it is read again.
        parts: makes previews and clips; None for those in the user's cache.

    Attributes:
        searches, merges, readers, thumbnails, cutters, embedders: threads, for each kind of work.
        streams, receivers: the videos that are being sent, and the files that are being received.
        posted: the files that were posted to search with.
        cache: answers that hold until the index changes.
    """

    def __init__(self, index: "VideoIndex", parts: previews.PartCache | None = None):
        self.index = index
        self.searches, self.merges = Threads(*SEARCHES), Threads(*MERGES)
        self.readers, self.thumbnails = Threads(*READERS), Threads(*THUMBNAILS)
        self.cutters, self.embedders = Threads(*PARTS), Threads(*UPLOADS)
        self.streams, self.receivers = Places(STREAMS), Places(RECEIVED)
        self.parts = previews.PartCache() if parts is None else parts
        self.posted = posted.PostedFiles()
        self.lock, self.reading_lock = threading.Lock(), threading.Lock()
        self.reader = ThreadPoolExecutor(1)
        self.reading: Future[None] | None = None
        self.cache = Cache()
        self.version: object = None
        self.looked = self.told = float("-inf")

    def read_folders(self) -> dict[str, str]:
        """Return the folders with videos, by the names that the page shows."""
        self.refresh()
        cache = self.cache
        if cache.folders is None:
            paths = self.index.folders() if self.index.exists else []
            cache.folders = {format_path(path): path for path in paths}
        return cache.folders

    def find_folder(self, name: str) -> str:
        """Return the path of a folder, by the name that the page shows."""
        try:
            return self.read_folders()[name]
        except KeyError as error:
            raise HTTPException(422, f"no videos are indexed in a folder {name}") from error

    def read_stats(self) -> StatsAnswer:
        """Count what is indexed, and tell the limits of the service."""
        self.refresh()
        limits = {
            "preview_seconds": previews.PREVIEW_SECONDS,
            "clip_seconds": previews.CLIP_SECONDS,
            "most_upload_bytes": posted.MOST_BYTES,
        }
        if not self.index.exists:
            empty = {"videos": 0, "failed": 0, "windows": 0, "hours": 0, "model": "", "method": ""}
            return StatsAnswer.model_validate(empty | limits)
        cache = self.cache
        if cache.stats is None:
            stats = self.index.stats()
            counted = vars(stats) | {"last_run": stats.last_run, "size": stats.size}
            text = {
                "address": format_path(counted["address"]),
                "folders": [format_path(folder) for folder in counted["folders"]],
                "can_rerank": self.can_rerank(),
            }
            cache.stats = StatsAnswer.model_validate(counted | text | limits)
        return cache.stats

    def read_failures(self) -> FailuresAnswer:
        """List the files that could not be indexed."""
        self.refresh()
        cache = self.cache
        if cache.failures is None:
            failed = self.index.failures() if self.index.exists else []
            listed = [
                FailureAnswer(
                    path=printable_name(path), name=printable_name(os.path.basename(path)),
                    stage=stage, reason=replace_unencodable(reason),
                )
                for path, stage, reason in failed[:MOST_FAILURES]
            ]  # fmt: skip
            cache.failures = FailuresAnswer(total=len(failed), failures=listed)
        return cache.failures

    def can_rerank(self) -> bool:
        """Return whether the model of the index can judge a text and a video together."""
        backbone = self.index.header["model"].get("architecture", {}).get("backbone")
        if backbone is None:
            return False
        from tempme_jax.networks.backbones import BACKBONES  # which the open model has imported

        return getattr(BACKBONES.get(backbone), "can_judge", False)

    def find_file(self, file_id: str) -> Path | None:
        """Return the real path of a video; None for an id that is unknown, or if it is gone."""
        return self.index.file(file_id) if self.index.exists else None

    def post(self, file: Path, name: str, media_type: str) -> tuple[str, posted.PostedFile]:
        """Embed a file that was posted; return its id, and what is kept of it."""
        self.refresh()
        self.require_index()
        model = self.open_model()
        found = posted.read_posted(model, self.index.header["model"], file, name, media_type)
        found = dataclasses.replace(found, own=self.index.find_own_part(file))
        return self.posted.keep(found), found

    def read_thumbnail(self, window: str) -> bytes:
        """Read the middle frame of a window, a JPEG file."""
        self.require_index()
        content = self.index.thumbnail(window)
        if content is None:
            raise make_missing_error()
        return content

    def draw_merged(self, window: str) -> bytes:
        """Draw the tokens that the model merged in a window, as PNG, unless the cache has it."""
        self.require_index()
        pictures = self.cache.pictures
        with self.lock:
            if window in pictures:
                pictures.move_to_end(window)
                return pictures[window]
        self.open_model()
        picture = self.index.merged(window)
        if picture is None:
            raise make_missing_error()
        with self.lock:
            pictures[window] = picture
            while len(pictures) > PICTURES_KEPT:
                pictures.popitem(last=False)
        return picture

    def open_model(self) -> "Model":
        """Open the model once; threads that ask meanwhile wait for it."""
        with self.lock:
            return self.index.model

    def warm(self) -> None:
        """Search once, so the first visitor waits neither for the model nor for thumbnails."""
        # The database, which thumbnails are read from, takes seconds to import and to open.
        pictures = threading.Thread(target=self._warm_thumbnails, daemon=True)
        pictures.start()
        try:
            self.open_model()
            self.index.search("a video", 1)
        except Exception:
            # The first visitor who searches sees the error, too.
            log.exception("the first search failed")
        pictures.join()

    def _warm_thumbnails(self) -> None:
        with contextlib.suppress(Exception):  # who asks for one is told why it cannot be read
            self.index.thumbnail("none")

    def require_index(self) -> None:
        """Raise a 404 error if there is no index yet."""
        if not self.index.exists:
            raise HTTPException(404, NOTHING_INDEXED)

    def refresh(self) -> bool:
        """See what other processes have stored before this call.

        One thread reads at a time. If that takes long, as of a large index while `tempme index`
        runs, the state before is used meanwhile.

        Returns:
            False if it takes long.
        """
        if not self.index.exists:
            return True
        end = time.monotonic() + PATIENCE
        while True:
            with self.reading_lock:
                reading, is_own = self.reading, False
                # What is being read may be older than this call; then it is read once more.
                if reading is None or reading.done():
                    reading = self.reading = self.reader.submit(self._read_again)
                    is_own = True
            if not wait([reading], timeout=max(0.0, end - time.monotonic())).done:
                return False
            if is_own:
                return True

    def _read_again(self) -> None:
        try:
            if is_remote(self.index.uri):
                if time.monotonic() - self.looked < REFRESH_REMOTE:
                    return
                self.looked = time.monotonic()
            self.index.refresh()
            version = self.index.version
            if version != self.version:
                self.version, self.cache = version, Cache()
        except Exception:
            # The state that was read before can still be searched. Every search comes here.
            if time.monotonic() - self.told > TOLD_SECONDS:
                self.told = time.monotonic()
                log.exception("the index could not be read again")


def make_missing_error() -> HTTPException:
    """Make the 404 error for the id of a window that is not in the index."""
    return HTTPException(404, "there is no such moment (any more); search again")
