"""Recognise a query that is taken from a file of the index itself."""

import math
import os
from typing import TYPE_CHECKING, NamedTuple

from tempme_jax.video.errors import VideoError

if TYPE_CHECKING:  # it imports this module
    from tempme_jax.search.query.searcher import Searcher


class OwnPart(NamedTuple):
    """The part of an indexed video that a query was taken from: its content, and seconds."""

    content: str
    start: float
    end: float


def find_own_part(
    searcher: "Searcher", file: str | os.PathLike, start: float = 0.0, end: float | None = None
) -> OwnPart | None:
    """Return which part of the index a part of a file is; None if its content is not indexed.

    Files are the same if their size and the samples are that an index knows a file by.
    """
    from tempme_jax.search.indexing.identify import get_samples
    from tempme_jax.video.fingerprint import hash_samples
    from tempme_jax.video.opening import hold_file

    try:
        with hold_file(os.path.abspath(os.path.expanduser(os.fsdecode(file)))) as held:
            size = held.state.size
            rows = [row for row in searcher.files.values() if row.size == size]
            samples = hash_samples(held) if rows else ""
    except (OSError, VideoError):  # gone or changed meanwhile
        return None
    for row in rows:
        if get_samples(row) == samples:
            return OwnPart(row.content, start, math.inf if end is None else end)
    return None
