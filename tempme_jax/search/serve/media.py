"""Send a video to the browser, whole or one range of its bytes, and never any other file.

The checks guard against:

* Files outside the indexed folders. The browser names an id, not a path, and the file that was in
  fact opened is checked: since indexing, or between check and opening, a folder or the video could
  have been replaced by a link to a private file.
* Pipes and devices, which would block or never end: only regular files are sent.
* Files that are not videos: the suffix decides, and the type is fixed by `MEDIA_TYPES`.
* Range headers that cost much time: one short range is answered, anything else is an error.
"""

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

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from tempme_jax.search.serve.queues import Places, Threads, get_visitor
from tempme_jax.video.suffixes import MEDIA_TYPES

# Number of bytes that are read and sent at a time.
CHUNK = 256 * 1024
LONGEST_RANGE_HEADER = 100
# O_NOFOLLOW refuses a link; with O_NONBLOCK opening a pipe does not wait for a writer.
FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_RANGE = re.compile(r"bytes=(?:([0-9]{1,18})-([0-9]{0,18})|-([0-9]{1,18}))", re.ASCII)
# Linux links each open descriptor to the path of its file here.
_OPENED = Path("/proc/self/fd")
FindFile = Callable[[str], Path | None]


class RangeError(ValueError):
    """A range that is malformed, or that the file does not have."""


class OpenFile(NamedTuple):
    """An open regular file: its descriptor, its path and its status from fstat."""

    descriptor: int
    path: Path
    status: os.stat_result


class Media(Response):
    """The answer to a request for a video.

    Args:
        open_file: opens the file; it may take long, and raise an HTTPException that says why not.
        openers: threads that open files.
        readers: threads that read files.
        streams: places for the videos that are sent at the same time.
        disposition: "inline", or "attachment" for a file to save.
    """

    def __init__(
        self,
        open_file: Callable[[], OpenFile],
        *,
        openers: Threads,
        readers: Threads,
        streams: Places,
        disposition: str = "inline",
    ):
        super().__init__()
        self.open_file, self.openers = open_file, openers
        self.readers, self.streams, self.disposition = readers, streams, disposition

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Open the file in a thread, answer the request, and close the file."""
        opened = await self.openers.run(get_visitor(scope), self.open_file)
        try:
            with self.streams.take():
                await self.answer(opened, scope, receive, send)
        finally:
            os.close(opened.descriptor)

    async def answer(self, opened: OpenFile, scope: Scope, receive: Receive, send: Send) -> None:
        """Implement `__call__`, once there is a place among those who are sent a video."""
        request = Request(scope, receive)
        answer, span = build_answer(opened, request.headers, self.disposition)
        if scope["method"] == "HEAD" or not span:
            await answer(scope, receive, send)
        else:
            await self.stream(opened, span, answer, request, send)

    async def stream(
        self, opened: OpenFile, span: range, answer: Response, request: Request, send: Send
    ) -> None:
        """Send a span of a file, chunk by chunk, until all is sent or the browser disconnects."""
        start = {"type": "http.response.start", "status": answer.status_code}
        await send({**start, "headers": answer.raw_headers})
        for place in range(span.start, span.stop, CHUNK):
            if await request.is_disconnected():
                return
            read = partial(os.pread, opened.descriptor, min(CHUNK, span.stop - place), place)
            body = await self.readers.run(get_visitor(request.scope), read)
            if len(body) < min(CHUNK, span.stop - place):
                raise OSError(f"{opened.path} became shorter while it was sent")
            more = place + CHUNK < span.stop
            await send({"type": "http.response.body", "body": body, "more_body": more})


def open_media(find: FindFile, file_id: str) -> OpenFile | None:
    """Open the file of an id; return None if it is not a video below an indexed folder.

    `find` approves a path, but before it is opened, a folder on the way could be replaced by a
    link. So the path of the file that was in fact opened is compared with the approved one.
    """
    try:
        path = find(file_id)
    except (OSError, RuntimeError):  # RuntimeError: a circle of links, before Python 3.13
        return None
    if path is None or path.suffix.lower() not in MEDIA_TYPES:
        return None
    opened = open_regular(path)
    if opened is None:
        return None
    with ExitStack() as stack:
        stack.callback(os.close, opened.descriptor)
        try:
            if not is_at(opened.descriptor, opened.status, path, find, file_id):
                return None
        except (OSError, RuntimeError):
            return None
        stack.pop_all()
        return opened


def is_at(
    descriptor: int, status: os.stat_result, path: Path, find: FindFile, file_id: str
) -> bool:
    """Return True if an open file is the one at a path, with no link on the way.

    Without Linux's /proc the path is approved once more and must lead to the same inode.
    """
    if _OPENED.is_dir():
        return os.readlink(_OPENED / str(descriptor)) == os.fspath(path)
    return find(file_id) == path and os.path.samestat(status, os.lstat(path))


def open_regular(path: Path) -> OpenFile | None:
    """Open a regular file; None if there is none at a path, or a link in its place."""
    with ExitStack() as stack:
        try:
            descriptor = os.open(path, FLAGS)
            stack.callback(os.close, descriptor)
            status = os.fstat(descriptor)
        except OSError:
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        stack.pop_all()
        return OpenFile(descriptor, path, status)


def build_answer(
    opened: OpenFile, headers: Headers, disposition: str = "inline"
) -> tuple[Response, range]:
    """Make the head of the answer and the range of bytes to send, empty for 304 and 416."""
    name, size = quote(os.fsencode(opened.path.name), safe=""), opened.status.st_size
    tag = f'"{size:x}-{opened.status.st_mtime_ns:x}"'
    fields = {
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Content-Disposition": f"{disposition}; filename*=UTF-8''{name}",
        "ETag": tag,
        "Last-Modified": formatdate(opened.status.st_mtime, usegmt=True),
    }
    if tag in [each.strip() for each in headers.get("if-none-match", "").split(",")]:
        return Response(status_code=304, headers=fields), range(0)
    try:
        span = parse_range(headers, size, {tag, fields["Last-Modified"]})
    except RangeError as error:
        fields["Content-Range"] = f"bytes */{size}"
        return JSONResponse({"error": str(error)}, 416, fields), range(0)
    status = 200 if span is None else 206
    if span is None:
        span = range(size)
    else:
        fields["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{size}"
    fields["Content-Length"] = str(len(span))
    media_type = MEDIA_TYPES[opened.path.suffix.lower()]
    return Response(status_code=status, headers=fields, media_type=media_type), span


def parse_range(headers: Headers, size: int, current: set[str]) -> range | None:
    """Return the range of bytes that a request names; None for the whole file.

    `current` holds the values of If-Range that stand for the file as it is now.

    Raises:
        RangeError: for several ranges, a malformed one, or one beyond the end of the file.
    """
    given = headers.getlist("range")
    if not given or headers.get("if-range") not in {None, *current}:
        return None
    if not given[0].lower().startswith("bytes="):
        # RFC 9110 says to ignore a Range header of an unknown unit.
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
