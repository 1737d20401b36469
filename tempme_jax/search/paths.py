"""Where an index is, and the folders of videos that it is of."""

import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.store.locking import is_begun

# The folder of an index, in the folder of its videos.
NAME = ".tempme"
# How an index names the folder that it lies in: both can be moved together.
BESIDE = ".."


def is_remote(path: str | os.PathLike) -> bool:
    """Whether it is an address such as s3://bucket/index."""
    return "://" in os.fspath(path)


def find(path: str | os.PathLike, *, is_index: Callable[[str], bool]) -> str:
    """The address of the index that a user means by a path.

    A folder that is no index and not empty is one of videos: the index is in it.

    Args:
        path: of an index, or of a folder of videos.
        is_index: whether there is an index at an address.
    """
    if is_remote(path):
        return os.fspath(path)
    folder = Path(path).expanduser().absolute()
    if folder.name == NAME or is_begun(folder):
        return str(folder)
    of_videos = folder.is_dir() and any(folder.iterdir()) and not is_index(str(folder))
    return index_of(folder) if of_videos else str(folder)


def index_of(folder: str | os.PathLike) -> str:
    """The address of the index that a folder of videos has if no other is named."""
    return str(Path(folder).expanduser().absolute() / NAME)


def stored_root(uri: str, folder: Path) -> str:
    """How an index names a folder of videos: by its real path, or as that which it lies in."""
    real = folder.expanduser().resolve()
    if not is_remote(uri) and real == Path(uri).resolve().parent:
        return BESIDE
    return str(real)


def root_path(uri: str, root: str) -> Path:
    """The folder of videos that an index names."""
    return Path(uri).resolve().parent if root == BESIDE else Path(root)


def refuse_nested(uri: str, folder: Path, roots: Iterable[str]) -> None:
    """Raises a VideoIndexError if a folder lies in one that is indexed already, or the other way.

    Its videos would be there twice.
    """
    real = folder.expanduser().resolve()
    for other in {root_path(uri, root) for root in roots} - {real}:
        if real.is_relative_to(other):
            raise VideoIndexError(
                f"{folder} lies in {other}, which is in the index {uri}; index that folder again, "
                "which comes to what is new in this one, too"
            )
        if other.is_relative_to(real):
            raise VideoIndexError(
                f"{other}, which is in the index {uri}, lies in {folder}; give that an index of "
                "its own (--index), or make this one anew with --rebuild"
            )


def real_path(uri: str, root: str, path: bytes) -> Path | None:
    """A file of an index, links resolved, if it is regular and truly in its folder."""
    folder = root_path(uri, root).resolve()
    try:
        real = (folder / os.fsdecode(path)).resolve()
        regular = stat.S_ISREG(real.stat().st_mode)
    except (OSError, ValueError, RuntimeError):  # not there, no name of a file, a loop of links
        return None
    return real if regular and real.is_relative_to(folder) else None


def folders_of(uri: str, files: Iterable[tuple[str, bytes]]) -> list[str]:
    """The folders that hold files, given by root and path, and those above, up to the roots."""
    found = set()
    for root, path in files:
        folder = root_path(uri, root)
        parent = (folder / os.fsdecode(path)).parent
        found |= {str(one) for one in (parent, *parent.parents) if one.is_relative_to(folder)}
    return sorted(found)
