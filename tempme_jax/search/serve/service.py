"""What the search service does for each address of its API.

Whatever reads or computes runs in threads, in lanes of their own: pictures of what was merged,
which take seconds, and searches never keep a thumbnail or a video waiting.
"""

import asyncio
import copy
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import anyio
from anyio.to_thread import run_sync
from fastapi import Path, Query
from starlette.exceptions import HTTPException
from starlette.responses import Response

from tempme_jax.search.serve.media import Media
from tempme_jax.search.serve.schemas import Folder, Found, Stats, found, readable
from tempme_jax.text.bpe import Tokenizer

if TYPE_CHECKING:  # the module imports the database
    from tempme_jax.search.index import VideoIndex

T = TypeVar("T")
# Threads at a time.
SEARCHES, MERGES, READERS, THUMBNAILS = 4, 2, 32, 16
# Whether others have changed the index is looked at not more often, in seconds.
REFRESH = 3.0
PICTURES_KEPT = 32
LONGEST_QUERY = 20_000
DEFAULT_COUNT, MOST_MOMENTS = 24, 200
NOTHING_INDEXED = "Nothing is indexed yet: tempme index FOLDER finds the videos in a folder."
log = logging.getLogger(__name__)

Window = Annotated[
    str, Path(pattern=r"^[0-9A-Za-z_-]{1,200}$", description="Id of a window, as search gives it.")
]
Count = Annotated[int, Query(ge=1, le=MOST_MOMENTS, description="Moments at most.")]
Seconds = Annotated[
    float | None, Query(ge=0, allow_inf_nan=False, description="Length of the whole video.")
]


class Service:
    """Answers from one index.

    Args:
        index: what is searched. It is read anew, in the background, after others changed it.
    """

    def __init__(self, index: "VideoIndex"):
        self.index = index
        self.searches = anyio.CapacityLimiter(SEARCHES)
        self.merges = anyio.CapacityLimiter(MERGES)
        self.readers = anyio.CapacityLimiter(READERS)
        self.thumbnails = anyio.CapacityLimiter(THUMBNAILS)
        self.lock = threading.Lock()
        self.pictures: OrderedDict[str, bytes] = OrderedDict()
        # What holds until the index changes.
        self.known: dict[str, object] = {}
        self.version: object = None
        self.looked = float("-inf")
        self.looking: asyncio.Task | None = None

    async def search(
        self,
        q: Annotated[str, Query(description="What is to be seen, as a sentence.")] = "",
        k: Count = DEFAULT_COUNT,
        folder: Annotated[str | None, Query(description="Only videos in it; see folders.")] = None,
        min_seconds: Seconds = None,
        max_seconds: Seconds = None,
    ) -> Found:
        """Moments that a sentence describes."""
        if not q.strip():
            raise HTTPException(422, "there is nothing to search for: describe what is to be seen")
        if len(q) > LONGEST_QUERY:
            raise HTTPException(
                422, f"the text has {len(q)} characters; at most {LONGEST_QUERY} are read"
            )
        if min_seconds is not None and max_seconds is not None and min_seconds > max_seconds:
            raise HTTPException(
                422, f"min_seconds={min_seconds} is more than max_seconds={max_seconds}"
            )
        self.look_for_changes()

        def work() -> Found:
            if not self.index.exists:
                return empty(q)
            filters = {"min_seconds": min_seconds, "max_seconds": max_seconds}
            if folder:
                filters["folder"] = self.folder(folder)
            note = cut_note(self.model().tokenizer, q)
            return found(self.index.search(q, k, **filters), "unrelated texts", note)

        return await run_sync(work, limiter=self.searches)

    async def similar(self, window: Window, k: Count = DEFAULT_COUNT) -> Found:
        """Moments that look like a window."""
        self.look_for_changes()

        def work() -> Found:
            try:
                return found(self.index.similar(window, k), "random moments")
            except KeyError as error:
                raise gone("moment") from error

        return await run_sync(self.existing(work), limiter=self.searches)

    async def folders(self) -> list[Folder]:
        """The folders that can be filtered by."""
        self.look_for_changes()
        paths = await run_sync(self.folder_paths, limiter=self.thumbnails)
        return [Folder(path=path) for path in paths]

    async def stats(self) -> Stats:
        """How much is indexed."""
        self.look_for_changes()

        def work() -> Stats:
            if not self.index.exists:
                return Stats(videos=0, failed=0, windows=0, hours=0, model="", method="")
            stats = self.index.stats()
            return Stats(**{name: getattr(stats, name) for name in Stats.model_fields})

        return await run_sync(self.remembered("stats", work), limiter=self.thumbnails)

    async def media(
        self, file_id: Annotated[str, Path(description="Id of a video, as search gives it.")]
    ) -> Response:
        """A video, or one range of its bytes."""
        find = self.index.file if self.index.exists else (lambda _: None)
        return Media(find, file_id, self.readers)

    async def thumbnail(self, window: Window) -> Response:
        """The middle of a window, as JPEG."""
        work = self.existing(lambda: self.index.thumbnail(window))
        return picture(await run_sync(work, limiter=self.thumbnails), "image/jpeg")

    async def merged(self, window: Window) -> Response:
        """What the model merged in a window, as PNG. It may take seconds."""
        picture_of = self.existing(lambda: self.merged_picture(window))
        return picture(await run_sync(picture_of, limiter=self.merges), "image/png")

    def merged_picture(self, window: str) -> bytes | None:
        """Makes a picture, or takes it from those that were made last."""
        with self.lock:
            if window in self.pictures:
                self.pictures.move_to_end(window)
                return self.pictures[window]
        self.model()
        made = self.index.merged(window)
        if made is not None:
            with self.lock:
                self.pictures[window] = made
                while len(self.pictures) > PICTURES_KEPT:
                    self.pictures.popitem(last=False)
        return made

    def model(self) -> object:
        """The model, which the first to ask opens while the others wait."""
        with self.lock:
            return self.index.model

    def warm(self) -> None:
        """Searches once, so that the first to ask does not wait for the model."""
        try:
            self.model()
            self.index.search("a video", 1)
        except Exception:
            # Whoever searches is told.
            log.exception("the first search failed")

    def folder(self, path: str) -> str:
        """The folder that is shown in this way."""
        try:
            return self.folder_paths()[path]
        except KeyError as error:
            raise HTTPException(422, f"no videos are indexed in a folder {path}") from error

    def folder_paths(self) -> dict[str, str]:
        """The folders, as they are shown and as they are."""

        def work() -> dict[str, str]:
            paths = self.index.folders() if self.index.exists else []
            return {readable(path): path for path in paths}

        return self.remembered("folders", work)()

    def remembered(self, name: str, work: Callable[[], T]) -> Callable[[], T]:
        """Does some work once, until the index changes."""

        def look() -> T:
            known = self.known
            if name not in known:
                known[name] = work()
            return known[name]

        return look

    def existing(self, work: Callable[[], T]) -> Callable[[], T]:
        """Does some work if there is an index at all."""

        def look() -> T:
            if not self.index.exists:
                raise HTTPException(404, NOTHING_INDEXED)
            return work()

        return look

    def look_for_changes(self) -> None:
        """Has it looked, by and by, whether others changed the index; the caller does not wait."""
        under_way = self.looking is not None and not self.looking.done()
        if not under_way and time.monotonic() - self.looked >= REFRESH:
            self.looked = time.monotonic()
            self.looking = asyncio.get_running_loop().create_task(run_sync(self.refresh))

    def refresh(self) -> None:
        """Reads the index anew if others changed it."""
        if not self.index.exists:
            return
        try:
            self.index.refresh()
            version = self.index.store.version
        except Exception:
            # What was read before can still be searched.
            log.exception("the index could not be read anew")
            return
        if version != self.version:
            self.version, self.known = version, {}
            with self.lock:
                self.pictures.clear()


def cut_note(tokenizer: Tokenizer, text: str) -> str:
    """Says so if a text is longer than what the model reads."""
    if len(text.encode()) <= tokenizer.max_words - 2:
        return ""
    whole = copy.copy(tokenizer)
    # At most one id for each byte; repairing a text may make it somewhat longer.
    whole.max_words = 8 * len(text.encode()) + 2
    ids, mask = whole(text)
    if mask.sum() <= tokenizer.max_words:
        return ""
    kept = tokenizer.decode(ids[0, : tokenizer.max_words - 1])
    return f"The model reads no more of the text than its beginning: {kept!r}."


def empty(query: str) -> Found:
    """The answer of an index that has not been made."""
    return Found(
        query=query, moments=[], confident=False, compared="unrelated texts", searched=0,
        message=NOTHING_INDEXED,
    )  # fmt: skip


def picture(content: bytes | None, media_type: str) -> Response:
    """An answer with a picture."""
    if content is None:
        raise gone("moment")
    headers = {"Cache-Control": "private, max-age=3600"}
    return Response(content, headers=headers, media_type=media_type)


def gone(what: str) -> HTTPException:
    """The error of an id that stands for nothing."""
    return HTTPException(404, f"there is no such {what} (any more); search again")
