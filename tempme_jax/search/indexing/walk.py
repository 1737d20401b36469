"""Finding the videos of a folder, and comparing them with an index.

No file is opened: only names, sizes and times are used.
"""

import hashlib
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from tempme_jax.search.errors import VideoIndexError
from tempme_jax.video.suffixes import VIDEO_SUFFIXES
from tempme_jax.words import printable_name

if TYPE_CHECKING:  # importing the database takes long, and finding videos does without it
    from tempme_jax.search.store.store import FileRow

_VIDEO_SUFFIXES = frozenset(map(os.fsencode, VIDEO_SUFFIXES))

# Start of the reason if files may be there, but cannot be seen now.
UNREADABLE = "cannot be read"
LINKED_FOLDER = "a link to a folder; index that folder itself"
LINKED_OUT = "a link that leads out of the folder"
LINKED_NOWHERE = "a link to nothing"
LINKED_IGNORED = "a link to a file that is hidden or has no video's name; rename that file"
IRREGULAR = "not a regular file"


class FoundFile(NamedTuple):
    """A regular file with a video's name.

    Attributes:
        path: path from the root, as bytes of `os.fsencode`, since not every name is text.
        size: size in bytes.
        mtime_ns: time of its last change, in nanoseconds since 1970.
    """

    path: bytes
    size: int
    mtime_ns: int


class SkippedPath(NamedTuple):
    """A path that was skipped, though its name is a video's or it may hold videos.

    Attributes:
        path: path from the root, as in `FoundFile`.
        reason: why it was skipped, in a few words.
    """

    path: bytes
    reason: str


class Difference(NamedTuple):
    """The difference between a folder and an index of it.

    Attributes:
        unchanged: indexed files whose size and time have not changed.
        look_at: files that are new, have changed, or failed before and are to be tried again.
            Their content may prove to be indexed already, if they were moved, copied or touched.
        failed_before: files that failed before, have not changed, and are not tried again.
        gone: indexed files that are no longer there.
        unseen: indexed files in places that could not be read, so they may still be there.
    """

    unchanged: list["FileRow"]
    look_at: list[FoundFile]
    failed_before: list["FileRow"]
    gone: list["FileRow"]
    unseen: list["FileRow"]


def find_videos(root: str | os.PathLike[str]) -> tuple[list[FoundFile], list[SkippedPath]]:
    """Find the videos in a folder and below by their names.

    Hidden files and folders are left out. Links are not followed: a link to something that is
    found anyway is left out; any other link to a folder or with a video's name is skipped with a
    reason. A file that cannot be read is found; opening it will tell why.

    Args:
        root: the folder; it may be a link itself.

    Returns:
        The files that were found and the paths that were skipped, each sorted by path.

    Raises:
        VideoIndexError: `root` is missing, is not a folder, or cannot be read.
    """
    top = os.path.realpath(_check_root(root))
    seen: list[FoundFile | SkippedPath | None] = []
    folders = [b""]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(os.path.join(top, folder)) as entries:
                for entry in entries:
                    path = os.path.join(folder, entry.name)
                    if entry.name.startswith(b"."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(path)
                    else:
                        seen.append(_classify_entry(top, path, entry))
        except OSError as error:
            if not folder:  # a disk that fails or is taken away: its files are not gone
                raise _make_folder_error(root, _describe_unreadable(error)) from error
            if not isinstance(error, FileNotFoundError):  # else removed since it was listed
                seen.append(SkippedPath(folder, _describe_unreadable(error)))
    found = sorted(each for each in seen if isinstance(each, FoundFile))
    return found, sorted(each for each in seen if isinstance(each, SkippedPath))


def make_file_id(root: str, path: bytes) -> str:
    """Make the id of a file, 24 hexadecimal digits, from its root and its path below the root."""
    # No path holds a zero byte, so the pairs ("a", "b/c") and ("a/b", "c") differ.
    place = root.encode(errors="surrogateescape") + b"\0" + path
    return hashlib.blake2b(place, digest_size=12).hexdigest()


def compare_with_index(
    found: Iterable[FoundFile],
    known: Iterable["FileRow"],
    *,
    root: str,
    retry_failed: bool,
    skipped: Iterable[SkippedPath] = (),
) -> Difference:
    """Compare the result of `find_videos` with the rows of an index that have the given root.

    Files below a skipped path that could not be read count as unseen, not as gone. `retry_failed`
    says whether to try files again that failed before and have not changed.
    """
    rows = {row.path: row for row in known if row.root == root}
    difference = Difference([], [], [], [], [])
    for file in found:
        row = rows.pop(file.path, None)
        if row is None or (row.size, row.mtime_ns) != (file.size, file.mtime_ns):
            difference.look_at.append(file)
        elif row.reason and retry_failed:
            difference.look_at.append(file)
        else:
            (difference.failed_before if row.reason else difference.unchanged).append(row)
    unreadable = {path for path, reason in skipped if reason.startswith(UNREADABLE)}
    for row in rows.values():
        is_unseen = not unreadable.isdisjoint(_list_parents(row.path))
        (difference.unseen if is_unseen else difference.gone).append(row)
    return difference


def _check_root(root: str | os.PathLike[str]) -> bytes:
    """Return the root as bytes, if it is a folder that can be read."""
    path = os.fsencode(root)
    try:
        with os.scandir(path):
            return path
    except (FileNotFoundError, ValueError) as error:  # ValueError: a zero byte
        raise _make_folder_error(root, "does not exist") from error
    except NotADirectoryError as error:
        raise _make_folder_error(root, "is a file, not a folder") from error
    except OSError as error:
        raise _make_folder_error(root, _describe_unreadable(error)) from error


def _make_folder_error(root: str | os.PathLike[str], problem: str) -> VideoIndexError:
    return VideoIndexError(
        f"{printable_name(os.fsencode(root))} {problem}; give a folder of videos that you may read"
    )


def _describe_unreadable(error: OSError) -> str:
    return f"{UNREADABLE} ({error.strerror})"


def _classify_entry(
    top: bytes, path: bytes, entry: os.DirEntry[bytes]
) -> FoundFile | SkippedPath | None:
    """Classify an entry that is not a folder; None if it need not be mentioned."""
    try:
        if entry.is_symlink():
            reason = _explain_link(top, path)
            return SkippedPath(path, reason) if reason else None
        if not _is_named_as_video(path):
            return None
        if not entry.is_file(follow_symlinks=False):
            return SkippedPath(path, IRREGULAR)
        status = entry.stat(follow_symlinks=False)
        return FoundFile(path, status.st_size, status.st_mtime_ns)
    except FileNotFoundError:  # removed since the folder was listed
        return None
    except OSError as error:
        return SkippedPath(path, _describe_unreadable(error))


def _explain_link(top: bytes, path: bytes) -> str:
    """Explain why a link is skipped; empty if it need not be mentioned."""
    place = os.path.join(top, path)
    is_folder = os.path.isdir(place)
    if not is_folder and not _is_named_as_video(path):
        return ""
    try:
        real = os.path.realpath(place, strict=True)
    except (FileNotFoundError, NotADirectoryError):
        return LINKED_NOWHERE
    except OSError as error:
        return f"a link that cannot be followed ({error.strerror})"
    is_below = os.path.commonpath([top, real]) == top
    names = os.path.relpath(real, top).split(os.fsencode(os.sep))
    is_seen = is_below and (real == top or not any(name.startswith(b".") for name in names))
    if is_folder:
        return "" if is_seen else LINKED_FOLDER
    if not is_below:
        return LINKED_OUT
    if not os.path.isfile(real):
        return IRREGULAR
    return "" if is_seen and _is_named_as_video(real) else LINKED_IGNORED


def _is_named_as_video(path: bytes) -> bool:
    return os.path.splitext(path)[1].lower() in _VIDEO_SUFFIXES


def _list_parents(path: bytes) -> Iterable[bytes]:
    """Yield a path and all folders that it lies in."""
    while path:
        yield path
        path = os.path.dirname(path)
