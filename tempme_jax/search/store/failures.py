"""What the database says when it fails, as one sentence that says what to do."""

import contextlib
import errno
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import pyarrow as pa

from tempme_jax.search.errors import VideoIndexError

# What LanceDB and Arrow raise: there is no type of their own.
FAILURES = (RuntimeError, OSError, ValueError, KeyError, TypeError, pa.ArrowException)
WRAPPING = re.compile(
    r"^(lance error: )?(LanceError\(\w+\): )?|(Wrapped|Generic N/A) error: |, /\S+?\.rs:\d+:\d+"
)
REFUSED = ("permission denied", "access denied", "accessdenied", "forbidden", "unauthorized")
CONFLICT = "commit conflict"
# Others write at the same moment: after waits of a second and less.
ATTEMPTS = 8
FULL = re.compile(r"no space left|quota exceeded", re.IGNORECASE)


T = TypeVar("T")


@contextlib.contextmanager
def reading(uri: str | os.PathLike[str]) -> Iterator[None]:
    """Turn what goes wrong while an index is read into a VideoIndexError."""
    try:
        yield
    except VideoIndexError:
        raise
    except FAILURES as error:
        reason = _reason(error)
        if any(word in reason.lower() for word in REFUSED):
            advice = "look at who may read it"
        else:
            advice = "if it is damaged, `tempme index FOLDER --rebuild` makes it anew"
        raise VideoIndexError(f"the index {uri} cannot be read: {reason}; {advice}") from error


@contextlib.contextmanager
def writing(uri: str | os.PathLike[str], intact: str) -> Iterator[None]:
    """Turn what goes wrong while an index is written into a VideoIndexError.

    Args:
        uri: of the index.
        intact: what there is nevertheless.
    """
    try:
        yield
    except VideoIndexError:
        raise
    except FAILURES as error:
        reason = _reason(error)
        if FULL.search(reason) or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            reason = f"the disk is full ({reason})"
        raise VideoIndexError(f"the index {uri} cannot be written: {reason}; {intact}") from error


def retried(write: Callable[[], T]) -> T:
    """Write something, again where another process was quicker: then nothing was written."""
    for attempt in range(ATTEMPTS - 1):
        try:
            return write()
        except FAILURES as error:
            if CONFLICT not in str(error):
                raise
            time.sleep(random.uniform(0, min(1, 0.05 * 2**attempt)))
    return write()


@contextlib.contextmanager
def giving_way() -> Iterator[None]:
    """Leave undone what another process's write comes before; only for what can wait."""
    try:
        yield
    except FAILURES as error:
        if CONFLICT not in str(error):
            raise


def _reason(error: BaseException) -> str:
    """The first line of a message, without where in the database's source it came up."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = str(error).splitlines() or [type(error).__name__]
    return WRAPPING.sub("", lines[0])
