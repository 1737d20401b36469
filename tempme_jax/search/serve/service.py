"""The work behind the addresses of `routes`: plain functions, run in threads, safe in many."""

import asyncio
import copy
import dataclasses
import logging
import threading
import time
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

from anyio.to_thread import run_sync
from starlette.exceptions import HTTPException

from tempme_jax.search.serve.queues import Places, Threads
from tempme_jax.search.serve.schemas import (
    SearchAnswer,
    StatsAnswer,
    format_path,
    make_search_answer,
)
from tempme_jax.text.base import BaseTokenizer

if TYPE_CHECKING:  # the module imports the database
    from tempme_jax.model import Model
    from tempme_jax.search.index import VideoIndex

# Most threads for each kind of work, and most requests that wait for one; all others are refused.
SEARCHES, MERGES, READERS, THUMBNAILS = (4, 32), (2, 8), (32, 64), (16, 128)
# Most videos that are sent at the same time.
STREAMS = 64
# Fewest seconds between two checks for changes of the index by other processes.
REFRESH = 3.0
PICTURES_KEPT = 32
NOTHING_INDEXED = "Nothing is indexed yet: tempme index FOLDER finds the videos in a folder."
log = logging.getLogger(__name__)


@dataclasses.dataclass
class Cache:
    """Answers that hold until the index changes; a changed index gets a new cache.

    Attributes:
        folders: the folders with videos, by the names that the page shows.
        stats: the answer of /api/stats.
        pictures: PNG files of merged tokens by window, the last used ones at the end.
    """

    folders: dict[str, str] | None = None
    stats: StatsAnswer | None = None
    pictures: OrderedDict[str, bytes] = dataclasses.field(default_factory=OrderedDict)


class Service:
    """Answers from one index.

    Args:
        index: the index to search. After another process changed it, it is read again in the
            background.

    Attributes:
        searches, merges, readers, thumbnails: threads, for each kind of work.
        streams: the videos that are being sent.
        cache: answers that hold until the index changes.
    """

    def __init__(self, index: "VideoIndex"):
        self.index = index
        self.searches, self.merges = Threads(*SEARCHES), Threads(*MERGES)
        self.readers, self.thumbnails = Threads(*READERS), Threads(*THUMBNAILS)
        self.streams = Places(STREAMS)
        self.lock = threading.Lock()
        self.cache = Cache()
        self.version: object = None
        self.looked = float("-inf")
        self.looking: asyncio.Task | None = None

    def search(
        self,
        text: str,
        count: int,
        folder: str | None,
        min_seconds: float | None,
        max_seconds: float | None,
    ) -> SearchAnswer:
        """Find the moments that a sentence describes."""
        if not self.index.exists:
            return SearchAnswer(
                query=text, moments=[], confident=False, compared="unrelated texts", searched=0,
                message=NOTHING_INDEXED,
            )  # fmt: skip
        path = self.find_folder(folder) if folder else None
        limits: dict = {"min_seconds": min_seconds, "max_seconds": max_seconds}
        results = self.index.search(text, count, folder=path, **limits)
        note = explain_cut(self.open_model().tokenizer, text)
        return make_search_answer(results, "unrelated texts", note)

    def search_similar(self, window: str, count: int) -> SearchAnswer:
        """Find moments of other videos that look like a window."""
        self.require_index()
        try:
            return make_search_answer(self.index.similar(window, count), "random moments")
        except KeyError as error:
            raise make_missing_error() from error

    def read_folders(self) -> dict[str, str]:
        """Return the folders with videos, by the names that the page shows."""
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
        """Count what is indexed."""
        if not self.index.exists:
            return StatsAnswer(videos=0, failed=0, windows=0, hours=0, model="", method="")
        cache = self.cache
        if cache.stats is None:
            cache.stats = StatsAnswer.model_validate(self.index.stats(), from_attributes=True)
        return cache.stats

    def find_file(self, file_id: str) -> Path | None:
        """Return the real path of a video; None for an id that is unknown, or if it is gone."""
        return self.index.file(file_id) if self.index.exists else None

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
        """Search once, so the first visitor does not wait for the model."""
        try:
            self.open_model()
            self.index.search("a video", 1)
        except Exception:
            # The first visitor who searches sees the error, too.
            log.exception("the first search failed")

    def require_index(self) -> None:
        """Raise a 404 error if there is no index yet."""
        if not self.index.exists:
            raise HTTPException(404, NOTHING_INDEXED)

    def look_for_changes(self) -> None:
        """Start a check for changes by other processes; the caller does not wait."""
        under_way = self.looking is not None and not self.looking.done()
        if not under_way and time.monotonic() - self.looked >= REFRESH:
            self.looked = time.monotonic()
            self.looking = asyncio.get_running_loop().create_task(run_sync(self.refresh))

    def refresh(self) -> None:
        """Read the index again if another process changed it."""
        if not self.index.exists:
            return
        try:
            self.index.refresh()
            version = self.index.version
        except Exception:
            # The state that was read before can still be searched.
            log.exception("the index could not be read again")
            return
        if version != self.version:
            self.version, self.cache = version, Cache()


def explain_cut(tokenizer: BaseTokenizer, text: str) -> str:
    """Return a sentence that says how much of a text the model reads; "" if it reads all."""
    if len(text.encode()) <= tokenizer.room:
        return ""
    whole = copy.copy(tokenizer)
    # At most one id for each byte; repairing broken Unicode may make a text somewhat longer.
    whole.max_words = 8 * len(text.encode()) + 2
    ids, mask = whole(text)
    if mask.sum() <= tokenizer.max_words:
        return ""
    kept = tokenizer.decode(ids[0, : tokenizer.room + 1])
    return f"The model reads no more of the text than its beginning: {kept!r}."


def make_missing_error() -> HTTPException:
    """Make the 404 error for the id of a window that is not in the index."""
    return HTTPException(404, "there is no such moment (any more); search again")
