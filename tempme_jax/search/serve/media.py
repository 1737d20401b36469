"""Sends videos to browsers: the whole file or one range of its bytes, never another file."""

import os
import re
import stat
from collections.abc import Callable
from contextlib import ExitStack
from email.utils import formatdate
from functools import partial
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import anyio
from anyio.to_thread import run_sync
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

# Fixed, so that no name of a file decides what a browser takes it for. Of a .mov and the like it is
# the content that browsers go by, if they are told that it is a video that they know.
TYPES = {
    **dict.fromkeys((".mp4", ".m4v", ".mov", ".qt", ".f4v", ".3gp", ".3g2"), "video/mp4"),
    ".webm": "video/webm",
    ".mkv": "video/x-matroska",
    **dict.fromkeys((".ogv", ".ogg"), "video/ogg"),
    **dict.fromkeys((".avi", ".divx"), "video/x-msvideo"),
    **dict.fromkeys((".ts", ".mts", ".m2ts"), "video/mp2t"),
    **dict.fromkeys((".mpg", ".mpeg", ".vob"), "video/mpeg"),
    ".flv": "video/x-flv",
    **dict.fromkeys((".wmv", ".asf"), "video/x-ms-wmv"),
}
# Bytes that are read and sent at a time.
CHUNK = 256 * 1024
LONGEST_RANGE_HEADER = 100
LONGEST_ID = 200
_RANGE = re.compile(r"bytes=(?:([0-9]{1,18})-([0-9]{0,18})|-([0-9]{1,18}))", re.ASCII)
# Where Linux says which file a descriptor is of.
_OPENED = Path("/proc/self/fd")
Find = Callable[[str], Path | None]


class RangeError(ValueError):
    """A range that the file does not have, or that is none."""


class Opened(NamedTuple):
    """A regular file that was opened: its descriptor, its path and what fstat said."""

    descriptor: int
    path: Path
    status: os.stat_result


class Media(Response):
    """The answer to a request for a video.

    Args:
        find: gives the real path of a file by its id, checked anew with every call; None for an id
            that stands for no file that may be seen.
        file_id: what the request named.
        readers: limits how many threads read at a time.
    """

    def __init__(self, find: Find, file_id: str, readers: anyio.CapacityLimiter):
        super().__init__()
        self.find, self.file_id, self.readers = find, file_id, readers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers."""
        opened = await run_sync(open_media, self.find, self.file_id, limiter=self.readers)
        if opened is None:
            missing = JSONResponse({"error": "there is no such video (any more)"}, 404)
            await missing(scope, receive, send)
            return
        try:
            request = Request(scope, receive)
            answer, span = describe(opened, request.headers)
            if scope["method"] == "HEAD" or not span:
                await answer(scope, receive, send)
            else:
                await self.stream(opened.descriptor, span, answer, request, send)
        finally:
            os.close(opened.descriptor)

    async def stream(
        self, descriptor: int, span: range, answer: Response, request: Request, send: Send
    ) -> None:
        """Sends a span of a file, a chunk at a time, while there is somebody to read it."""
        start = {"type": "http.response.start", "status": answer.status_code}
        await send({**start, "headers": answer.raw_headers})
        for place in range(span.start, span.stop, CHUNK):
            if await request.is_disconnected():
                return
            read = partial(os.pread, descriptor, min(CHUNK, span.stop - place), place)
            body = await run_sync(read, limiter=self.readers)
            if len(body) < min(CHUNK, span.stop - place):
                raise OSError(f"the file {self.file_id} became shorter while it was sent")
            more = place + CHUNK < span.stop
            await send({"type": "http.response.body", "body": body, "more_body": more})


def open_media(find: Find, file_id: str) -> Opened | None:
    """Opens what an id stands for; None if that is no video below an indexed folder.

    `find` approves a path. Before it is opened any folder on the way could be put in place of
    another by a link, so that what counts is the path of the file that was in fact opened.
    """
    try:
        path = find(file_id) if len(file_id) <= LONGEST_ID else None
    except (OSError, RuntimeError):  # RuntimeError: of links in a circle, before Python 3.13
        return None
    if path is None or path.suffix.lower() not in TYPES:
        return None
    # A pipe would let the opening wait for ever.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with ExitStack() as stack:
        try:
            descriptor = os.open(path, flags)
            stack.callback(os.close, descriptor)
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                return None
            if not is_at(descriptor, status, path, find, file_id):
                return None
        except (OSError, RuntimeError):
            return None
        stack.pop_all()
        return Opened(descriptor, path, status)


def is_at(descriptor: int, status: os.stat_result, path: Path, find: Find, file_id: str) -> bool:
    """Whether an open file is the one at a path, with no link on the way."""
    if _OPENED.is_dir():
        return os.readlink(_OPENED / str(descriptor)) == os.fspath(path)
    return find(file_id) == path and os.path.samestat(status, os.lstat(path))


def describe(opened: Opened, headers: Headers) -> tuple[Response, range]:
    """The answer without its body, and the bytes that are to be sent: none, unless 200 or 206."""
    size = opened.status.st_size
    tag = f'"{size:x}-{opened.status.st_mtime_ns:x}"'
    said = {
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Content-Disposition": f"inline; filename*=UTF-8''{escaped(opened.path)}",
        "ETag": tag,
        "Last-Modified": formatdate(opened.status.st_mtime, usegmt=True),
    }
    if tag in [each.strip() for each in headers.get("if-none-match", "").split(",")]:
        return Response(status_code=304, headers=said), range(0)
    try:
        span = asked(headers, size, {tag, said["Last-Modified"]})
    except RangeError as error:
        said["Content-Range"] = f"bytes */{size}"
        return JSONResponse({"error": str(error)}, 416, said), range(0)
    status = 200
    if span is None:
        span = range(size)
    else:
        status = 206
        said["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{size}"
    said["Content-Length"] = str(len(span))
    media_type = TYPES[opened.path.suffix.lower()]
    return Response(status_code=status, headers=said, media_type=media_type), span


def asked(headers: Headers, size: int, current: set[str]) -> range | None:
    """The bytes that a request names; None for all.

    Args:
        headers: of the request.
        size: of the file.
        current: what If-Range may say of a file that has not changed.

    Raises:
        RangeError: several ranges, a malformed one, or one beyond the end of the file.
    """
    given = headers.getlist("range")
    if not given or headers.get("if-range") not in {None, *current}:
        return None
    if not given[0].lower().startswith("bytes="):
        # A unit that is not known is to be passed over.
        return None
    match = _RANGE.fullmatch(given[0]) if len(given[0]) <= LONGEST_RANGE_HEADER else None
    if len(given) > 1 or match is None:
        raise RangeError("only one range is answered, such as bytes=0-1023 or bytes=-1024")
    first, last, suffix = match.groups()
    if suffix is not None:
        span = range(max(0, size - int(suffix)), size)
    else:
        span = range(int(first), min(size, int(last) + 1) if last else size)
    if not span:
        raise RangeError(f"the file has no such bytes: it has {size}")
    return span


def escaped(path: Path) -> str:
    """The name of a file as a header may hold it."""
    return quote(os.fsencode(path.name), safe="")
