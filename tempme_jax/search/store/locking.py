"""One run at a time writes an index, or one for each shard; the system drops a dead run's lock."""

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from tempme_jax.search.errors import VideoIndexError

LOCK = "lock"
CREATING = "lock-create"


def local_folder(uri: str | os.PathLike[str]) -> Path | None:
    """The folder of an index on a local disk, absolute; None for one in an object store (s3://)."""
    return None if "://" in str(uri) else Path(uri).expanduser().absolute()


@contextlib.contextmanager
def locked(uri: str | os.PathLike[str], shard: tuple[int, int] | None = None) -> Iterator[None]:
    """Keep other runs from writing an index for as long as the context is open.

    A whole run (`shard` None) excludes all others. A shard (i, n) excludes whole runs, itself, and
    the shards of another n, which would do the same videos. An index in an object store is not
    locked: there each run of many has to have a shard of its own.

    Args:
        uri: of the index; a local folder is made if there is none.
        shard: which part of the work the run does, and of how many.

    Raises:
        VideoIndexError: another run holds the lock, and which, or nothing can be locked there.
    """
    folder = local_folder(uri)
    if folder is None:
        yield
        return
    with contextlib.ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            files = _acquired(folder, shard, held)
        except OSError as error:
            raise unlockable(folder, error) from error
        _sign(files[-1])
        yield


def _acquired(
    folder: Path, shard: tuple[int, int] | None, held: contextlib.ExitStack
) -> list[IO[str]]:
    """The files that are locked; the last one is the run's own."""
    if shard is None:
        wanted = [(folder / LOCK, fcntl.LOCK_EX)]
    else:
        own = folder / f"{LOCK}-{shard[0]}-of-{shard[1]}"
        wanted = [(folder / LOCK, fcntl.LOCK_SH), (own, fcntl.LOCK_EX)]
    files = []
    for path, kind in wanted:
        file = held.enter_context(path.open("a+", encoding="utf-8"))
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            raise VideoIndexError(
                f"{folder} is being written by {_holder(path)}; wait until it is done, or end it"
            ) from None
        files.append(file)
    if shard is not None:
        for path in sorted(folder.glob(f"{LOCK}-*-of-*")):
            if not path.name.endswith(f"-of-{shard[1]}") and _is_held(path):
                raise VideoIndexError(
                    f"{folder} is being written by {_holder(path)}, for a share of another size "
                    f"than one of {shard[1]}; wait until it is done, or end it"
                )
    return files


def _sign(file: IO[str]) -> None:
    """Write into a locked file who holds it."""
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}")
    file.flush()


def _holder(refused: Path) -> str:
    """Who is in the way: a shard that holds a file of its own, or who signed the refused file."""
    shards = sorted(refused.parent.glob(f"{LOCK}-*")) if refused.name == LOCK else []
    for path in [path for path in shards if _is_held(path)] or [refused]:
        signed = path.read_text(encoding="utf-8")
        if signed:
            return signed
    return "another process"


def _is_held(path: Path) -> bool:
    with path.open("r", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextlib.contextmanager
def creating(uri: str | os.PathLike[str]) -> Iterator[None]:
    """Wait until no other process is about to make an index there.

    Object stores are not locked: there one run has to make the index before others join in.

    Raises:
        VideoIndexError: nothing can be locked there.
    """
    folder = local_folder(uri)
    if folder is None:
        yield
        return
    with contextlib.ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = held.enter_context((folder / CREATING).open("a+", encoding="utf-8"))
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            raise unlockable(folder, error) from error
        yield


def is_begun(folder: Path) -> bool:
    """Whether an index is, or was to be, made in a folder: perhaps just now by another process."""
    return (folder / CREATING).exists()


def unlockable(folder: Path, error: OSError) -> VideoIndexError:
    """Where nothing can be locked, nothing can be written either."""
    return VideoIndexError(
        f"{folder} cannot be locked ({error.strerror or error}); an index has to lie in a folder "
        "that you can write to: choose one with --index"
    )
