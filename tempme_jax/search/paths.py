"""Paths: where an index lies, and how it names the folders of its videos."""

import os
import shlex
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from tempme_jax.checks import suggest
from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.store.checksums import list_versions
from tempme_jax.search.store.locking import DEFAULT_NAME, is_begun
from tempme_jax.words import name_program

# The name by which an index refers to the folder that it lies in, so both can be moved together.
BESIDE = ".."


def is_remote(path: str | os.PathLike) -> bool:
    """Return whether a path is an address such as s3://bucket/index."""
    return "://" in os.fspath(path)


def find_index(path: str | os.PathLike, *, is_index: Callable[[str], bool]) -> str:
    """Return the address of the index that a user means by a path.

    A folder that is neither an index nor empty is taken for a folder of videos, whose index lies in
    `.tempme`.

    Args:
        path: path of an index, or of a folder of videos.
        is_index: tells whether there is an index at an address.
    """
    if is_remote(path):
        return os.fspath(path)
    folder = Path(path).expanduser().absolute()
    if folder.name == DEFAULT_NAME or is_begun(folder):
        return str(folder)
    of_videos = folder.is_dir() and any(folder.iterdir()) and not is_index(str(folder))
    return locate_index(folder) if of_videos else str(folder)


class Place(NamedTuple):
    """The index that a user means, and the part of it.

    Attributes:
        uri: address of the index.
        folder: a folder in the one that is indexed, if the index was found above it; else None.
    """

    uri: str
    folder: Path | None = None


def find_place(path: str | os.PathLike | None) -> Place:
    """Return the index of a path, or of a folder above it, as Git finds a repository.

    Args:
        path: path of an index, of a folder of videos or of a folder in one; None for the current
            folder.

    Raises:
        VideoIndexError: if the only index is one of another user in a folder above, which may
            have put it there to be taken by mistake.
    """
    uri = find_index(path or ".", is_index=holds_index)
    folder = Path(path or ".").expanduser()
    if is_remote(uri) or holds_index(uri) or not folder.is_dir():
        return Place(uri)
    others = []
    for above in folder.resolve().parents:
        index = locate_index(above)
        if not holds_index(index):
            continue
        if is_own(index):
            return Place(index, folder.resolve())
        others.append(index)
    if others:
        raise VideoIndexError(
            f"there is no index in {uri}, and {others[0]} belongs to another user; if you trust "
            f"it, name it: --index {shlex.quote(others[0])}"
        )
    return Place(uri)


def holds_index(uri: str) -> bool:
    """Return whether there is an index in a folder, without opening it."""
    try:
        return bool(list_versions(Path(uri), "header"))
    except OSError:  # whoever opens it says what is wrong
        return False


def is_own(path: str) -> bool:
    """Return whether a folder belongs to this user, where the system tells it."""
    return not hasattr(os, "getuid") or os.stat(path).st_uid == os.getuid()


def locate_index(folder: str | os.PathLike) -> str:
    """Return the default address of the index of a folder of videos."""
    return str(Path(folder).expanduser().absolute() / DEFAULT_NAME)


def encode_root(uri: str, folder: Path) -> str:
    """Return the name of a folder in an index: its real path, or ".." if the index lies in it."""
    real = folder.expanduser().resolve()
    if not is_remote(uri) and real == Path(uri).resolve().parent:
        return BESIDE
    return str(real)


def decode_root(uri: str, root: str) -> Path:
    """Return the folder that `encode_root` named."""
    return Path(uri).resolve().parent if root == BESIDE else Path(root)


def refuse_nested(uri: str, folder: Path, roots: Iterable[str]) -> None:
    """Raise a VideoIndexError if a folder lies in an indexed one, or the other way round.

    Its videos would be in the index twice.
    """
    real = folder.expanduser().resolve()
    for other in {decode_root(uri, root) for root in roots} - {real}:
        if real.is_relative_to(other):
            raise VideoIndexError(
                f"{folder} lies in {other}, which is in the index {uri}; index {other} again, "
                "which finds new videos here too"
            )
        if other.is_relative_to(real):
            raise VideoIndexError(
                f"{other}, which is in the index {uri}, lies in {folder}; give {folder} an "
                "index of its own with --index, or rebuild this one with --rebuild"
            )


def resolve_file(uri: str, root: str, path: bytes) -> Path | None:
    """Return the real path of an indexed file; None unless it is a regular file in its folder."""
    folder = decode_root(uri, root).resolve()
    try:
        real = (folder / os.fsdecode(path)).resolve()
        regular = stat.S_ISREG(real.stat().st_mode)
    except (OSError, ValueError, RuntimeError):  # missing, not a valid name, a loop of links
        return None
    return real if regular and real.is_relative_to(folder) else None


def list_folders(uri: str, files: Iterable[tuple[str, bytes]]) -> list[str]:
    """List the folders of files, given as (root, path), and those above up to the roots."""
    found = set()
    for root, path in files:
        folder = decode_root(uri, root)
        parent = (folder / os.fsdecode(path)).parent
        found |= {str(one) for one in (parent, *parent.parents) if one.is_relative_to(folder)}
    return sorted(found)


def make_missing_error(uri: str) -> VideoIndexError:
    """Make the error for an address without an index."""
    folder = Path(uri.removesuffix(f"/{DEFAULT_NAME}"))
    if not is_remote(uri) and not folder.exists():
        beside = os.listdir(folder.parent) if os.access(folder.parent, os.R_OK) else ()
        near = suggest(folder.name, beside)
        return VideoIndexError(f"there is no index in {uri}: {folder} does not exist{near}")
    known = str(folder) != uri  # a folder of videos, not an empty one or an address
    named = shlex.quote(str(folder)) if known else "FOLDER"
    return VideoIndexError(
        f"there is no index in {uri}; `{name_program()} index {named}` makes one of the videos in "
        f"{'it' if known else 'a folder'}, and --index names one that lies elsewhere"
    )
