"""Errors of the database, also its panics, turned into one sentence that says what to do."""

import contextlib
import errno
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.store.locking import find_local_folder

# The type of LanceDB's errors in its Rust code that are not expected. It is no Exception.
PANIC = "PanicException"
WRAPPING = re.compile(
    r"^(lance error: )?(LanceError\(\w+\): )?|(Wrapped|Generic N/A) error: |, /\S+?\.rs:\d+:\d+"
)
REFUSED = ("permission denied", "access denied", "accessdenied", "forbidden", "unauthorized")
CONFLICT = "commit conflict"
# Attempts to write while other processes write too, with waits of at most a second between them.
ATTEMPTS = 8
FULL = re.compile(r"no space left|quota exceeded", re.IGNORECASE)
GONE = (errno.EIO, errno.ENOTCONN, errno.ESTALE, errno.EHOSTDOWN, errno.ENODEV, errno.ETIMEDOUT)


T = TypeVar("T")


@contextlib.contextmanager
def explain_read_errors(uri: str | os.PathLike[str]) -> Iterator[None]:
    """Turn errors while an index is read into a VideoIndexError."""
    try:
        yield
    except VideoIndexError:
        raise
    except BaseException as error:
        if not is_failure(error):
            raise
        reason = summarize(error)
        if any(word in reason.lower() for word in REFUSED):
            advice = "check who may read it"
        elif find_errno(error) in GONE or (
            (folder := find_local_folder(uri)) and not folder.exists()
        ):
            advice = "check whether its disk or network drive is there"
        else:
            advice = (
                "if it is damaged, repair it with `tempme index FOLDER --verify`, or rebuild it "
                "with `tempme index FOLDER --rebuild`"
            )
        raise VideoIndexError(f"the index {uri} cannot be read: {reason}; {advice}") from error


@contextlib.contextmanager
def explain_write_errors(uri: str | os.PathLike[str], intact: str) -> Iterator[None]:
    """Turn errors while an index is written into a VideoIndexError that ends with `intact`."""
    try:
        yield
    except VideoIndexError:
        raise
    except BaseException as error:
        if not is_failure(error):
            raise
        reason = summarize(error)
        if FULL.search(reason) or find_errno(error) in (errno.ENOSPC, errno.EDQUOT):
            reason = f"the disk is full ({reason})"
        raise VideoIndexError(f"the index {uri} cannot be written: {reason}; {intact}") from error


def retry_conflicts(write: Callable[[], T]) -> T:
    """Call `write`, and call it again if another process wrote at the same moment."""
    for attempt in range(ATTEMPTS - 1):
        try:
            return write()
        except Exception as error:
            if CONFLICT not in str(error):
                raise
            time.sleep(random.uniform(0, min(1, 0.05 * 2**attempt)))
    return write()


@contextlib.contextmanager
def ignore_conflicts() -> Iterator[None]:
    """Ignore that another process wrote at the same moment; only for work that can wait."""
    try:
        yield
    except Exception as error:
        if CONFLICT not in str(error):
            raise


def is_failure(error: BaseException) -> bool:
    """Return whether an error is the database's, and not a request to stop."""
    return isinstance(error, Exception) or type(error).__name__ == PANIC


def summarize(error: BaseException) -> str:
    """Return the first line of a message, without places in the database's source code."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = str(error).splitlines() or [type(error).__name__]
    return WRAPPING.sub("", lines[0])


def find_errno(error: BaseException) -> int | None:
    """Return the number of the operating system's error; None if it is no such error."""
    if isinstance(error, OSError) and error.errno:
        return error.errno
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found[1]) if found else None
