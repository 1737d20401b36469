"""The videos of an index, as they are shown: whole, or a part of one; or called gone."""

import contextlib
import datetime
import os
from pathlib import Path

from starlette.exceptions import HTTPException

from tempme_jax.search.paths import decode_root
from tempme_jax.search.serve import previews
from tempme_jax.search.serve.media import OpenFile, open_media
from tempme_jax.search.serve.schemas import KnownFile, format_path
from tempme_jax.search.serve.service import Service
from tempme_jax.video.errors import VideoError
from tempme_jax.video.suffixes import MEDIA_TYPES

UNKNOWN = "there is no such video (any more)"


def find_known(service: Service, file_id: str) -> KnownFile | None:
    """Return what the index knows of a video; None for an unknown id."""
    row = service.index.find_row(file_id)
    if row is None:
        return None
    changed = datetime.datetime.fromtimestamp(row.mtime_ns / 1e9, datetime.UTC)
    path = None
    with contextlib.suppress(OSError, RuntimeError):  # as of a circle of links
        path = service.find_file(file_id)
    is_gone = path is None or path.suffix.lower() not in MEDIA_TYPES
    return KnownFile(row.seconds, changed.isoformat(timespec="seconds"), is_gone)


def find_path(service: Service, file_id: str) -> Path:
    """Return the path of a video as it was indexed; a 404 error for an unknown id."""
    row = service.index.find_row(file_id) if service.index.exists else None
    if row is None:
        raise HTTPException(404, UNKNOWN)
    return decode_root(service.index.uri, row.root) / os.fsdecode(row.path)


def open_video(service: Service, file_id: str) -> OpenFile:
    """Open a video.

    Raises:
        HTTPException: 404 for an unknown id, 410 if the video is gone.
    """
    opened = open_media(service.find_file, file_id)
    if opened is None:
        raise HTTPException(
            410,
            f"{format_path(find_path(service, file_id).name)} is gone: it was moved, renamed or "
            "deleted since it was indexed, or its disk is not there; tempme index on its folder "
            "looks for it",
        )
    return opened


def open_part(
    service: Service, file_id: str, start: float, end: float, *, is_preview: bool
) -> OpenFile:
    """Open a part of a video as an mp4 file, under the name by which it is saved.

    Raises:
        HTTPException: there is no such video or part, or it cannot be made.
    """
    from tempme_jax.search.saving.names import name_part

    if not start < end:
        raise HTTPException(422, f"start={start:g} is not before end={end:g}")
    longest = previews.PREVIEW_SECONDS if is_preview else previews.CLIP_SECONDS
    if not is_preview and end - start > longest:
        raise HTTPException(422, f"at most {longest:g} s are saved; that were {end - start:g}")
    path = find_path(service, file_id)
    try:
        source = service.index.locate(file_id)
    except KeyError as error:  # the index changed just now
        raise HTTPException(404, UNKNOWN) from error
    except VideoError as error:
        raise HTTPException(410, f"{format_path(path.name)} {error.reason}") from error
    part = previews.WantedPart(source, start, min(end, start + longest), is_preview)
    return service.parts.open(part)._replace(path=Path(name_part(path, part.start, part.end)))
