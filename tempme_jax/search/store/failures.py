"""Errors of the database, turned into one sentence that says what to do."""

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

# What LanceDB and Arrow raise; they have no common type of error.
FAILURES = (RuntimeError, OSError, ValueError, KeyError, TypeError, pa.ArrowException)
WRAPPING = re.compile(
    r"^(lance error: )?(LanceError\(\w+\): )?|(Wrapped|Generic N/A) error: |, /\S+?\.rs:\d+:\d+"
)
REFUSED = ("permission denied", "access denied", "accessdenied", "forbidden", "unauthorized")
CONFLICT = "commit conflict"
# Attempts to write while other processes write too, with waits of at most a second between them.
ATTEMPTS = 8
FULL = re.compile(r"no space left|quota exceeded", re.IGNORECASE)


T = TypeVar("T")


@contextlib.contextmanager
def explain_read_errors(uri: str | os.PathLike[str]) -> Iterator[None]:
    """Turn errors while an index is read into a VideoIndexError."""
    try:
        yield
    except VideoIndexError:
        raise
    except FAILURES as error:
        reason = _summarize(error)
        if any(word in reason.lower() for word in REFUSED):
            advice = "check who may read it"
        else:
            advice = "if it is damaged, rebuild it with `tempme index FOLDER --rebuild`"
        raise VideoIndexError(f"the index {uri} cannot be read: {reason}; {advice}") from error


@contextlib.contextmanager
def explain_write_errors(uri: str | os.PathLike[str], intact: str) -> Iterator[None]:
    """Turn errors while an index is written into a VideoIndexError that ends with `intact`."""
    try:
        yield
    except VideoIndexError:
        raise
    except FAILURES as error:
        reason = _summarize(error)
        if FULL.search(reason) or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            reason = f"the disk is full ({reason})"
        raise VideoIndexError(f"the index {uri} cannot be written: {reason}; {intact}") from error


def retry_conflicts(write: Callable[[], T]) -> T:
    """Call `write`, and call it again if another process wrote at the same moment."""
    for attempt in range(ATTEMPTS - 1):
        try:
            return write()
        except FAILURES as error:
            if CONFLICT not in str(error):
                raise
            time.sleep(random.uniform(0, min(1, 0.05 * 2**attempt)))
    return write()


@contextlib.contextmanager
def ignore_conflicts() -> Iterator[None]:
    """Ignore that another process wrote at the same moment; only for work that can wait."""
    try:
        yield
    except FAILURES as error:
        if CONFLICT not in str(error):
            raise


def _summarize(error: BaseException) -> str:
    """Return the first line of a message, without places in the database's source code."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = str(error).splitlines() or [type(error).__name__]
    return WRAPPING.sub("", lines[0])
