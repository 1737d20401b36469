"""Which videos a folder holds, and how that differs from what an index knows of it.

Nothing here opens a file: names, sizes and times are all that is looked at.
"""

import hashlib
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from tempme_jax.search.errors import VideoIndexError
from tempme_jax.words import printable_name

if TYPE_CHECKING:  # the module imports the database, which walking a folder does without
    from tempme_jax.search.store.store import FileRow

# How the names of videos end, in any case, for the containers that `container` opens.
VIDEO_SUFFIXES = frozenset(
    b".mp4 .m4v .mov .qt .3gp .3g2 .f4v .mkv .webm .avi .divx .ts .mts .m2ts .mpg .mpeg .vob .flv "
    b".wmv .asf .ogv .ogg".split()
)

# How the reason begins where a file may well be there, and only cannot be seen now.
UNREADABLE = "cannot be read"
LINKED_FOLDER = "a link to a folder; index that folder itself"
LINKED_OUT = "a link that leads out of the folder"
LINKED_NOWHERE = "a link to nothing"
LINKED_IGNORED = "a link to a file that is hidden or has no video's name; rename that file"
IRREGULAR = "not a regular file"


class Found(NamedTuple):
    """A regular file with a video's name.

    Attributes:
        path: from the root, as the bytes of `os.fsencode`, since not every name is text.
        size: in bytes.
        mtime_ns: when it was last written, in nanoseconds since 1970.
    """

    path: bytes
    size: int
    mtime_ns: int


class Skipped(NamedTuple):
    """What was passed over, though its name is a video's or it may hold videos.

    Attributes:
        path: from the root, as in `Found`.
        reason: why, in a few words.
    """

    path: bytes
    reason: str


class Difference(NamedTuple):
    """How a folder differs from what an index knows of it.

    Attributes:
        unchanged: indexed, and of the same size and time as then.
        look_at: what is new, has changed since, or failed before and is to be tried again. Each
            may yet prove to hold what is indexed already: moved, copied or merely touched.
        failed_before: failed, unchanged since, and left alone.
        gone: no longer there.
        unseen: not found, but in a place that could not be read, so that they may be there.
    """

    unchanged: list["FileRow"]
    look_at: list[Found]
    failed_before: list["FileRow"]
    gone: list["FileRow"]
    unseen: list["FileRow"]


def walk(root: str | os.PathLike[str]) -> tuple[list[Found], list[Skipped]]:
    """Finds the videos below a folder by their names.

    Hidden files and folders are passed over. So are links to what is found below the folder
    anyway; all other links that have a video's name or lead to a folder are skipped, and none is
    followed. A file that cannot be read is found: opening it says why.

    Args:
        root: the folder; it may be a link itself.

    Returns:
        What was found and what was skipped, each sorted by path.

    Raises:
        VideoIndexError: `root` is missing, is no folder, or cannot be read.
    """
    top = os.path.realpath(_checked(root))
    seen: list[Found | Skipped | None] = []
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
                        seen.append(_look(top, path, entry))
        except OSError as error:
            if not folder:  # a disk that fails or is taken away: its files are not gone
                raise _no_folder(root, _unreadable(error)) from error
            if not isinstance(error, FileNotFoundError):  # else removed since it was listed
                seen.append(Skipped(folder, _unreadable(error)))
    found = sorted(each for each in seen if isinstance(each, Found))
    return found, sorted(each for each in seen if isinstance(each, Skipped))


def file_id(root: str, path: bytes) -> str:
    """Names a file by where it is: 24 hexadecimal digits, always the same for the same place.

    Args:
        root: the indexed folder.
        path: of the file, from there, as in `Found`.
    """
    # No path holds a zero byte, so that "a" + "b/c" and "a/b" + "c" differ.
    place = root.encode(errors="surrogateescape") + b"\0" + path
    return hashlib.blake2b(place, digest_size=12).hexdigest()


def compare(
    found: Iterable[Found],
    known: Iterable["FileRow"],
    *,
    root: str,
    retry_failed: bool,
    skipped: Iterable[Skipped] = (),
) -> Difference:
    """Sorts the files of a root into those to look at and those to leave alone.

    Args:
        found: the files that are there, of `walk`.
        known: the rows of the index; those of other roots are none of its business.
        root: the root that was walked, as the rows name it.
        retry_failed: whether files that failed before are looked at again though unchanged.
        skipped: what was passed over, of `walk`; rows of files in unreadable places are not gone.
    """
    rows = {row.path: row for row in known if row.root == root}
    difference = Difference([], [], [], [], [])
    for file in found:
        row = rows.pop(file.path, None)
        if row is None or (row.size, row.mtime_ns) != (file.size, file.mtime_ns):
            difference.look_at.append(file)
        elif not row.reason:
            difference.unchanged.append(row)
        elif retry_failed:
            difference.look_at.append(file)
        else:
            difference.failed_before.append(row)
    unreadable = {path for path, reason in skipped if reason.startswith(UNREADABLE)}
    for row in rows.values():
        is_unseen = not unreadable.isdisjoint(_places(row.path))
        (difference.unseen if is_unseen else difference.gone).append(row)
    return difference


def _checked(root: str | os.PathLike[str]) -> bytes:
    """The root as bytes, if it is a folder."""
    path = os.fsencode(root)
    try:
        with os.scandir(path):
            return path
    except (FileNotFoundError, ValueError) as error:  # ValueError: a zero byte
        raise _no_folder(root, "does not exist") from error
    except NotADirectoryError as error:
        raise _no_folder(root, "is a file, not a folder") from error
    except OSError as error:
        raise _no_folder(root, _unreadable(error)) from error


def _no_folder(root: str | os.PathLike[str], problem: str) -> VideoIndexError:
    return VideoIndexError(
        f"{printable_name(os.fsencode(root))} {problem}; give a folder of videos that you may read"
    )


def _unreadable(error: OSError) -> str:
    return f"{UNREADABLE} ({error.strerror})"


def _look(top: bytes, path: bytes, entry: os.DirEntry[bytes]) -> Found | Skipped | None:
    """What an entry that is no folder is; None if it is not worth a word."""
    try:
        if entry.is_symlink():
            reason = _why_not_followed(top, path)
            return Skipped(path, reason) if reason else None
        if not _is_named_as_video(path):
            return None
        if not entry.is_file(follow_symlinks=False):
            return Skipped(path, IRREGULAR)
        status = entry.stat(follow_symlinks=False)
        return Found(path, status.st_size, status.st_mtime_ns)
    except FileNotFoundError:  # removed since the folder was listed
        return None
    except OSError as error:
        return Skipped(path, _unreadable(error))


def _why_not_followed(top: bytes, path: bytes) -> str:
    """Why a link is skipped; empty if that is not worth a word."""
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
    return os.path.splitext(path)[1].lower() in VIDEO_SUFFIXES


def _places(path: bytes) -> Iterable[bytes]:
    """A path and all folders it lies in."""
    while path:
        yield path
        path = os.path.dirname(path)
