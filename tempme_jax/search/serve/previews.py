"""Parts of videos as mp4 files that a browser plays or saves, made when they are asked for.

A part is cut in a child process with limits of time and memory. It is kept in the user's cache,
which is bounded. It is made once: who asks for it meanwhile waits for the same file.
"""

import contextlib
import hashlib
import os
import threading
import time
from collections import OrderedDict
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from starlette.exceptions import HTTPException

from tempme_jax.compile_cache import find_home_folder
from tempme_jax.search.serve.media import OpenFile, open_regular
from tempme_jax.search.serve.schemas import format_path
from tempme_jax.video.errors import VideoError
from tempme_jax.video.opening import IRREGULAR, LINKED, MISSING

if TYPE_CHECKING:
    from tempme_jax.search.saving.sources import VideoSource

PREVIEW_SECONDS, CLIP_SECONDS = 30.0, 600.0
# Most pixels of the longer side of a preview.
PREVIEW_SIDE = 854
# Most seconds that it takes to make them.
PREVIEW_PATIENCE, CLIP_PATIENCE = 60.0, 600.0
MOST_BYTES = 2**30
# What was left over by a process that was killed is removed at this age.
OLD_SECONDS = 86_400
# Why a part cannot be made is known for so long, of so many parts.
FAILED_SECONDS, MOST_FAILURES = 60.0, 256
VERSION = 1


class WantedPart(NamedTuple):
    """A part of a video.

    Attributes:
        source: the video.
        start, end: the part, in seconds.
        is_preview: whether every browser has to play it, with fewer pixels; else it is to be saved.
    """

    source: "VideoSource"
    start: float
    end: float
    is_preview: bool

    @property
    def key(self) -> str:
        """A name that no other part has, and none of another version of the file."""
        parts = (
            VERSION, os.fspath(self.source.file), *self.source.state, self.is_preview,
            round(1000 * self.start), round(1000 * self.end),
        )  # fmt: skip
        return hashlib.sha256(repr(parts).encode("utf-8", "surrogateescape")).hexdigest()[:40]


class PartCache:
    """Makes parts of videos and keeps them on the disk.

    Args:
        folder: where they are kept; None for the user's cache.
        most_bytes: how much of the disk they may take.
    """

    def __init__(self, folder: Path | None = None, most_bytes: int = MOST_BYTES):
        self._folder, self.most_bytes = folder, most_bytes
        self._lock = threading.Lock()
        self._making: dict[str, Future[None]] = {}
        self._failed: OrderedDict[str, tuple[float, HTTPException]] = OrderedDict()

    @property
    def folder(self) -> Path:
        """Where the parts are kept."""
        return self._folder or find_home_folder() / "previews"

    def open(self, part: WantedPart) -> OpenFile:
        """Open a part, once it is made.

        Raises:
            HTTPException: it cannot be made; it says why.
        """
        target = self.folder / f"{part.key}.mp4"
        for _ in range(2):  # another process may remove it, to make room
            opened = self._open_kept(target)
            if opened is not None:
                return opened
            self._make_once(part, target)
        opened = self._open_kept(target)
        if opened is None:
            name = format_path(part.source.file.name)
            raise HTTPException(507, f"a part of {name} could not be kept on the disk")
        return opened

    def _open_kept(self, target: Path) -> OpenFile | None:
        opened = open_regular(target)
        if opened is not None:
            with contextlib.suppress(OSError):  # the last used ones are kept
                os.utime(target, ns=(time.time_ns(), opened.status.st_mtime_ns))
        return opened

    def _make_once(self, part: WantedPart, target: Path) -> None:
        with self._lock:
            failed = self._failed.get(part.key)
            if failed and time.monotonic() - failed[0] < FAILED_SECONDS:
                raise failed[1]
            making = self._making.get(part.key)
            if is_mine := making is None:
                making = self._making[part.key] = Future()
        if not is_mine:
            making.result()
            return
        try:
            self._make(part, target)
        except BaseException as error:
            making.set_exception(error)
            raise
        else:
            making.set_result(None)
        finally:
            with self._lock:
                del self._making[part.key]

    def _make(self, part: WantedPart, target: Path) -> None:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.make_room()
            cut(part, target)
        except VideoError as error:
            raise self._note_failure(part, explain_failure(part, error)) from error
        except OSError as error:
            reason = error.strerror or error
            raise HTTPException(507, f"there is no room to make it: {reason}") from error

    def _note_failure(self, part: WantedPart, error: HTTPException) -> HTTPException:
        with self._lock:
            self._failed[part.key] = time.monotonic(), error
            while len(self._failed) > MOST_FAILURES:
                self._failed.popitem(last=False)
        return error

    def make_room(self) -> None:
        """Remove the parts that were not used for the longest time, and what was left over."""
        kept: list[tuple[int, int, Path]] = []
        for entry in os.scandir(self.folder):
            with contextlib.suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                if entry.name.endswith(".mp4") and not entry.name.startswith("."):
                    kept.append((status.st_atime_ns, status.st_size, Path(entry.path)))
                elif time.time() - status.st_mtime > OLD_SECONDS:
                    remove(Path(entry.path))
        size = sum(size for _, size, _ in kept)
        for _, own, path in sorted(kept):
            if size <= self.most_bytes:
                return
            with contextlib.suppress(OSError):
                path.unlink()
                size -= own


def cut(part: WantedPart, target: Path) -> None:
    """Write a part of a video.

    Raises:
        VideoError: the video cannot be read.
        OSError: the part cannot be written.
    """
    # A service that makes none does without it.
    from tempme_jax.search.saving.cutting import save_part

    file, root, state = part.source
    save_part(
        file, part.start, part.end, target, root=root, state=state,
        in_browser=part.is_preview, most_side=PREVIEW_SIDE if part.is_preview else None,
        total=PREVIEW_PATIENCE if part.is_preview else CLIP_PATIENCE,
    )  # fmt: skip


def explain_failure(part: WantedPart, error: VideoError) -> HTTPException:
    """Return the error of HTTP that says why a part cannot be made."""
    is_gone = error.reason in (MISSING, LINKED, IRREGULAR)
    name = format_path(part.source.file.name)
    return HTTPException(410 if is_gone else 422, f"{name} cannot be shown: {error.reason}")


def remove(path: Path) -> None:
    """Remove what a process left that was killed: a file, or a folder of files."""
    if path.is_dir() and not path.is_symlink():
        for entry in path.iterdir():
            entry.unlink()
        path.rmdir()
    else:
        path.unlink()
