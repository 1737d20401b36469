"""Finding the videos of a folder.

No file is opened but .tempmeignore: only names, sizes and times are used.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.indexing.exclusion import (
    IGNORE_FILE,
    INDEX_FOLDER,
    NO_MEDIA,
    NO_MEDIA_FILE,
    Exclusion,
    label_own_rule,
)
from tempme_jax.search.indexing.sidecars import is_named_as_subtitles, match_names
from tempme_jax.video.suffixes import VIDEO_SUFFIXES
from tempme_jax.words import printable_name

_VIDEO_SUFFIXES = frozenset(map(os.fsencode, VIDEO_SUFFIXES))

# Start of the reason if files may be there, but cannot be seen now.
UNREADABLE = "cannot be read"
LINKED_FOLDER = "a link to a folder; index that folder itself"
LINKED_OUT = "a link that leads out of the folder"
LINKED_NOWHERE = "a link to nothing"
LINKED_IGNORED = "a link to a file that is hidden or has no video's name; rename that file"
IRREGULAR = "not a regular file"
# Why a video is left out that a camera made for previews.
SMALL_COPY = "with a larger copy beside"

PREVIEW_SUFFIXES = (b".lrv", b".lrf")
# How the names of GoPro's films begin where those of its previews begin with GL.
GOPRO = (b"gx", b"gh")
# Longer suffixes are none, but part of a name with a dot.
LONGEST_SUFFIX = 12


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


class FolderContent(NamedTuple):
    """What a folder holds, and what is below it.

    Attributes:
        found: the videos, sorted by path.
        skipped: paths that may be or hold videos and cannot be read, sorted.
        left_out: files and folders that are left out on purpose, sorted. Each reason is a few words
            by which they are counted, such as "@eaDir" or "hidden".
        passed_over: number of files with the name of something else, by suffix.
        unused: patterns of `exclude` that left nothing out.
        subtitles: pairs of a video and a file of subtitles beside it, by names.
    """

    found: list[FoundFile]
    skipped: list[SkippedPath]
    left_out: list[SkippedPath]
    passed_over: Counter[str]
    unused: list[str]
    subtitles: list[tuple[FoundFile, FoundFile]]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing that is or may be a video."""
        return not self.found and not self.skipped


def find_videos(root: str | os.PathLike[str], exclude: Sequence[str] = ()) -> FolderContent:
    """Find the videos in a folder and below by their names.

    Hidden files and folders, folders of other programs, and what the user excludes are left out.
    Links are not followed: a link to something that is found anyway is left out; any other link to
    a folder or with a video's name is skipped with a reason. A file that cannot be read is found;
    opening it will tell why.

    Args:
        root: the folder; it may be a link itself.
        exclude: patterns of what to leave out, as in .gitignore.

    Raises:
        VideoIndexError: `root` is missing, is not a folder, or cannot be read; or a pattern, there
            or in a file .tempmeignore, cannot be used.
    """
    top = os.path.realpath(require_folder(root))
    walker = _Walker(top, Exclusion(exclude))
    while walker.folders:
        folder, is_named = walker.folders.pop()
        try:
            walker.enter(folder, is_named=is_named)
        except OSError as error:
            if not folder:  # a disk that fails or is taken away: its files are not gone
                raise _make_folder_error(root, _describe_unreadable(error)) from error
            if not isinstance(error, FileNotFoundError):  # else removed since it was listed
                walker.skipped.append(SkippedPath(folder, _describe_unreadable(error)))
    return walker.finish()


class _Walker:
    """Walks through the folders below `top`, each once."""

    def __init__(self, top: bytes, exclusion: Exclusion):
        self._top, self._exclusion = top, exclusion
        # Folders that are still to be entered, and whether a pattern of the user takes them.
        self.folders = [(b"", True)]
        self._found: list[FoundFile] = []
        self.skipped: list[SkippedPath] = []
        self._left_out: list[SkippedPath] = []
        self._passed_over: Counter[str] = Counter()
        self._subtitles: list[tuple[FoundFile, FoundFile]] = []

    def enter(self, folder: bytes, *, is_named: bool) -> None:
        """Look at the entries of a folder; an OSError if they cannot be listed."""
        with os.scandir(os.path.join(self._top, folder)) as listed:
            entries = list(listed)
        if not is_named and any(entry.name.lower() == NO_MEDIA_FILE for entry in entries):
            self._left_out.append(SkippedPath(folder, NO_MEDIA))
            return
        if any(entry.name == IGNORE_FILE for entry in entries):
            self._exclusion.read_ignore_file(self._top, folder)
        found: list[FoundFile] = []
        for entry in entries:
            found += self._look_at(os.path.join(folder, entry.name), entry)
        texts = [file for file in found if not _is_named_as_video(file.path)]
        found = [file for file in found if _is_named_as_video(file.path)]
        copies = find_small_copies([file.path for file in found])
        self._left_out += [SkippedPath(path, SMALL_COPY) for path in copies]
        found = [file for file in found if file.path not in copies]
        self._found += found
        pairs = match_names(found, texts)
        self._subtitles += pairs
        alone = {file.path for file in texts} - {file.path for _, file in pairs}
        self._passed_over.update(map(label_suffix, alone))

    def finish(self) -> FolderContent:
        """Return what was found, sorted."""
        return FolderContent(
            sorted(self._found),
            sorted(self.skipped),
            sorted(self._left_out),
            self._passed_over,
            self._exclusion.list_unused(),
            sorted(self._subtitles),
        )

    def _look_at(self, path: bytes, entry: os.DirEntry[bytes]) -> list[FoundFile]:
        """Sort an entry into one of the lists; return it if it is a video or has subtitles."""
        is_folder = entry.is_dir(follow_symlinks=False)
        if is_folder and entry.name == INDEX_FOLDER:
            return []
        verdict = self._exclusion.judge(path, is_folder=is_folder)
        is_named = verdict.excludes is False and verdict.is_named
        own = "" if is_named else label_own_rule(entry.name, is_folder=is_folder)
        label = verdict.label if verdict.excludes else own
        if label:
            if is_folder or _is_named_as_video(path):
                self._left_out.append(SkippedPath(path, label))
        elif is_folder:
            self.folders.append((path, is_named))
        else:
            seen = _classify_entry(self._top, path, entry)
            if isinstance(seen, FoundFile):
                return [seen]
            if seen is not None:
                self.skipped.append(seen)
            elif not _is_named_as_video(path):
                self._passed_over[label_suffix(path)] += 1
        return []


def label_suffix(path: bytes) -> str:
    """Return the suffix of a file in lower case, as it is counted."""
    suffix = os.path.splitext(path)[1].lower()
    return printable_name(suffix) if 1 < len(suffix) <= LONGEST_SUFFIX else "without suffix"


def find_small_copies(paths: Iterable[bytes]) -> set[bytes]:
    """Return those videos of a folder that a camera made as previews of others in it.

    GoPro writes GL010001.LRV beside GX010001.MP4, DJI writes DJI_0001.LRF beside DJI_0001.MP4.
    """
    stems, previews = set(), []
    for path in paths:
        stem, suffix = os.path.splitext(os.path.basename(path).lower())
        if suffix in PREVIEW_SUFFIXES:
            previews.append((path, stem))
        else:
            stems.add(stem)
    copies = set()
    for path, stem in previews:
        names = {stem, *(new + stem[2:] for new in GOPRO if stem.startswith(b"gl"))}
        if not stems.isdisjoint(names):
            copies.add(path)
    return copies


def make_file_id(root: str, path: bytes) -> str:
    """Make the id of a file, 24 hexadecimal digits, from its root and its path below the root."""
    # No path holds a zero byte, so the pairs ("a", "b/c") and ("a/b", "c") differ.
    place = root.encode(errors="surrogateescape") + b"\0" + path
    return hashlib.blake2b(place, digest_size=12).hexdigest()


def require_folder(root: str | os.PathLike[str]) -> bytes:
    """Return the root as bytes; raise a VideoIndexError unless it is a folder that can be read."""
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
        if not (_is_named_as_video(path) or is_named_as_subtitles(path)):
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
