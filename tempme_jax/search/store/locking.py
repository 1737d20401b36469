"""Locks on an index: one run writes at a time, or one run for each shard.

The operating system releases a lock when its process ends, however it ends.
"""

import contextlib
import os
import shlex
import socket
from collections.abc import Iterator
from pathlib import Path

import filelock

from tempme_jax.search.errors import VideoIndexError

# Name of the index in a folder of videos.
DEFAULT_NAME = ".tempme"
LOCK = "lock"
CREATING = "lock-create"
BEGINNING = "lock-begin"


def find_local_folder(uri: str | os.PathLike[str]) -> Path | None:
    """Return the absolute folder of an index; None for one in an object store (s3://)."""
    return None if "://" in str(uri) else Path(uri).expanduser().absolute()


@contextlib.contextmanager
def lock_index(uri: str | os.PathLike[str], shard: tuple[int, int] | None = None) -> Iterator[None]:
    """Keep other runs from writing an index while the context is open.

    A run without a shard excludes all others. Shard (i, n) excludes runs without a shard, itself,
    and the shards of any other n, which would embed the same videos. An index in an object store
    is not locked: if several runs write to it, give each a shard of its own.

    Args:
        uri: address of the index; a local folder is created if it is missing.
        shard: (i, n) for the i-th of n parts of the videos; None for all videos.

    Raises:
        VideoIndexError: another run, which is named, holds the lock, or the folder cannot be
            locked.
    """
    folder = find_local_folder(uri)
    if folder is None:
        yield
        return
    own = folder / (f"{LOCK}-{shard[0]}-of-{shard[1]}" if shard else LOCK)
    with contextlib.ExitStack() as held:
        with _explain_lock_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            # One run at a time looks for others, so two that begin at once see each other.
            with _make_lock(folder / BEGINNING):
                _refuse_conflicts(folder, own, shard)
                held.enter_context(_make_lock(own))
            own.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
        yield


def _refuse_conflicts(folder: Path, own: Path, shard: tuple[int, int] | None) -> None:
    """Raise a VideoIndexError that names the run which excludes this one, if there is one."""
    for path in [folder / LOCK, *sorted(folder.glob(f"{LOCK}-*-of-*"))]:
        is_sibling = shard is not None and path.name.endswith(f"-of-{shard[1]}")
        if (is_sibling and path != own) or not _is_held(path):
            continue
        holder = path.read_text(encoding="utf-8") or "another process"
        if shard and path.name != LOCK and not is_sibling:
            holder += f", which splits the videos into another number of shards than {shard[1]}"
        raise VideoIndexError(
            f"{folder} is being written by {holder}; wait until it is done, or stop it"
        )


def _make_lock(path: Path) -> filelock.BaseFileLock:
    # Where the system cannot lock, filelock would leave a file behind that outlives a dead run.
    return filelock.UnixFileLock(path, fallback_to_soft=False)


def _is_held(path: Path) -> bool:
    try:
        with _make_lock(path).acquire(blocking=False):
            return False
    except filelock.Timeout:
        return True


@contextlib.contextmanager
def lock_creation(uri: str | os.PathLike[str]) -> Iterator[None]:
    """Wait until no other process is creating an index there, and keep others from it.

    Object stores are not locked: there, one run has to create the index before others join in.

    Raises:
        VideoIndexError: the folder cannot be locked.
    """
    folder = find_local_folder(uri)
    if folder is None:
        yield
        return
    with contextlib.ExitStack() as held:
        with _explain_lock_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(_make_lock(folder / CREATING))
        yield


def advise_other_place(folder: Path) -> str:
    """Return the commands that keep an index on another disk."""
    has_videos = folder.name == DEFAULT_NAME
    given = shlex.quote(str(folder.parent)) if has_videos else "FOLDER"
    other = "~/" + shlex.quote(f"{folder.parent.name if has_videos else 'videos'}.tempme")
    return (
        f"keep the index on another disk: `tempme index {given} --index {other}`, and search it "
        f'with `tempme search "..." --index {other}` or `tempme serve --index {other}`'
    )


def is_begun(folder: Path) -> bool:
    """Return whether a process has begun to create an index in a folder, perhaps just now."""
    return (folder / CREATING).exists()


@contextlib.contextmanager
def _explain_lock_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise VideoIndexError(
            f"{folder} cannot be locked ({error.strerror or error}); an index has to lie in a "
            f"folder that you can write to: {advise_other_place(folder)}"
        ) from error
