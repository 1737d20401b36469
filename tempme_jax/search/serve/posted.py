"""Pictures and clips that a visitor posts to search with: received in parts, decoded in a child.

A file is written to a folder that only this user can read, decoded in a child process with limits
of time and memory, and removed. Its vector and a small picture stay in memory.
"""

import contextlib
import dataclasses
import secrets
import tempfile
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from anyio.to_thread import run_sync
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from tempme_jax.search.query.unknown import SeenKind, read_unknown
from tempme_jax.video.errors import VideoError
from tempme_jax.video.pixels import encode_jpeg

if TYPE_CHECKING:
    from tempme_jax.model import Model
    from tempme_jax.search.query.same import OwnPart

MOST_BYTES = 256 * 2**20
# How many posted files can be searched with; the oldest is forgotten.
MOST_KEPT = 128
# Bytes that are collected before they are written.
CHUNK = 2**20
# Most seconds for decoding a posted file.
MOST_SECONDS = 120.0
# Forms of web pages can post these to any site without being asked whether they may.
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain")
# Types of pictures that may move; then they are clips.
MOVING = ("image/gif", "image/webp")
QUALITY = 85
FORGOTTEN = "the picture or clip is not known here (any more); choose the file again"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PostedFile:
    """A picture or a clip, to search with.

    Attributes:
        kind: which of them it is.
        name: the name of the file.
        vector: its unit vector, float32 [d].
        picture: its middle frame, a JPEG file.
        model: the description of the model that embedded it.
        own: the part of the index that it is, if it is in the index.
    """

    kind: SeenKind
    name: str
    vector: np.ndarray
    picture: bytes
    model: object
    own: "OwnPart | None" = None


class PostedFiles:
    """The files that were posted last, by ids that nobody can guess."""

    def __init__(self):
        self._kept: OrderedDict[str, PostedFile] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, posted: PostedFile) -> str:
        """Keep a file and return its id."""
        name = secrets.token_hex(16)
        with self._lock:
            self._kept[name] = posted
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        return name

    def find(self, name: str, model: object = None) -> PostedFile:
        """Return the file of an id.

        Args:
            name: the id.
            model: the description of the model that the vector is compared with; None for any.

        Raises:
            HTTPException: 410; it is not kept, or another model embedded it.
        """
        with self._lock:
            found = self._kept.get(name)
            if found is None or (model is not None and found.model != model):
                raise HTTPException(410, FORGOTTEN)
            self._kept.move_to_end(name)
            return found


def check_head(request: Request) -> str:
    """Return the media type of what is posted, "" for none; refuse what is not to be read."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type in FORMS:
        raise HTTPException(415, f"{media_type} is not read: send the bytes of the file alone")
    length = request.headers.get("content-length", "0")
    if length.isascii() and length.isdigit() and int(length) > MOST_BYTES:
        raise make_too_large_error()
    return media_type


@contextlib.asynccontextmanager
async def receive(request: Request) -> AsyncIterator[Path]:
    """Write what is posted to a temporary file, which is removed after the block.

    Raises:
        HTTPException: it is too large, empty or not complete, or there is no room for it.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix="tempme-", ignore_cleanup_errors=True)
    except OSError as error:
        raise make_no_room_error(error) from error
    with folder as place:
        file = Path(place) / "posted"
        await write_body(request, file)
        yield file


async def write_body(request: Request, file: Path) -> None:
    """Write the body of a request to a file."""
    size, parts = 0, bytearray()
    try:
        with file.open("wb", buffering=0) as target:
            async for part in request.stream():
                size += len(part)
                if size > MOST_BYTES:
                    raise make_too_large_error()
                parts += part
                if len(parts) >= CHUNK:
                    await run_sync(write_all, target, bytes(parts))
                    parts.clear()
            await run_sync(write_all, target, bytes(parts))
    except ClientDisconnect as error:
        raise HTTPException(400, "the file did not arrive as a whole") from error
    except OSError as error:
        raise make_no_room_error(error) from error
    if not size:
        raise HTTPException(422, "the file is empty: send the bytes of a picture or a video")


def write_all(target: BinaryIO, data: bytes) -> None:
    """Write all bytes to a file without a buffer, which may take several writes."""
    view = memoryview(data)
    while view:
        view = view[target.write(view) :]


def read_posted(
    model: "Model", described: object, file: Path, name: str, media_type: str
) -> PostedFile:
    """Decode and embed a posted file.

    Args:
        model: the model of the index.
        described: its description in the index.
        file: where it lies.
        name: its name, to show.
        media_type: what the visitor says that it is; "" for nothing.

    Raises:
        HTTPException: 422; it is neither a picture nor a video that can be read.
    """
    is_clip = media_type.startswith("video/") or media_type in MOVING
    try:
        kind, frames = read_unknown(model, str(file), clip_first=is_clip, total=MOST_SECONDS)
    except VideoError as error:  # its path is that of the temporary file
        reason = f"{name or 'the file'} cannot be read; {error.reason}"
        raise HTTPException(422, reason) from error
    vector = np.asarray(model.embed_video(frames)[0], np.float32)
    picture = encode_jpeg(frames[len(frames) // 2], QUALITY)
    return PostedFile(kind=kind, name=name, vector=vector, picture=picture, model=described)


def make_too_large_error() -> HTTPException:
    """Make the error for a file with too many bytes."""
    return HTTPException(
        413, f"the file is too large: at most {MOST_BYTES // 2**20} MiB are read; cut a part of it"
    )


def make_no_room_error(error: OSError) -> HTTPException:
    """Make the error for a file that the service cannot write."""
    return HTTPException(507, f"the service has no room for the file ({error.strerror or error})")
