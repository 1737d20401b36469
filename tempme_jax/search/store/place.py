"""Where an index may lie: what is needed of a file system, tried before any long work begins.

LanceDB stores a new version of a table by a hard link, which can never replace another version. On
file systems without links, such as exFAT and some network drives, its store `file+uring` renames
files instead. That could replace a version of another process, so each commit is locked there.
"""

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import filelock

from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.store import lance
from tempme_jax.search.store.failures import is_failure, summarize
from tempme_jax.search.store.locking import (
    advise_other_place,
    find_local_folder,
    lock_creation,
)

# The store that needs no hard links; Linux only.
WITHOUT_LINKS = "file+uring://"
COMMITTING = "lock-commit"


def check_place(uri: str | os.PathLike[str]) -> None:
    """Raise a VideoIndexError unless an index can be written at an address; makes the folder.

    Only folders are checked.
    """
    folder = find_local_folder(uri)
    if folder is None:
        return
    with lock_creation(uri):
        if not has_hard_links(folder):
            _try_without_links(folder)


def has_hard_links(folder: Path) -> bool:
    """Return whether files in a folder can be linked.

    Raises:
        OSError: no file can be written there.
    """
    first, second = (folder / f".link-{uuid.uuid4().hex}" for _ in range(2))
    first.touch()
    try:
        os.link(first, second)
        return True
    except OSError:
        return False
    finally:
        first.unlink()
        second.unlink(missing_ok=True)


def make_write_address(folder: Path) -> str:
    """Return the address of an index by which it can be written without hard links."""
    return WITHOUT_LINKS + quote(os.fsencode(folder))


@contextlib.contextmanager
def lock_commit(folder: Path) -> Iterator[None]:
    """Wait until no other process commits to an index that is written without hard links."""
    with filelock.UnixFileLock(folder / COMMITTING, fallback_to_soft=False):
        yield


def _try_without_links(folder: Path) -> None:
    """Raise a VideoIndexError unless tables can be written without hard links."""
    name = f"trial-{uuid.uuid4().hex}"
    try:
        connection = lance.connect(make_write_address(folder))
        connection.create_table(name, [{"id": "a"}, {"id": "b"}]).delete("id = 'a'")
        # Opened again, since what was just written is not read from the disk.
        lance.connect(make_write_address(folder)).open_table(name).search().to_arrow()
        connection.drop_table(name)
    except BaseException as error:
        if not is_failure(error):
            raise
        with contextlib.suppress(Exception):
            lance.connect(folder).drop_table(name)
        raise VideoIndexError(
            f"no index can be kept in {folder}: its file system has no hard links, and writing "
            f"without them fails ({summarize(error)}); {advise_other_place(folder)}"
        ) from error
