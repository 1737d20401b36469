"""Decide which files and folders of a library are left out of its index.

These are hidden ones, folders that other programs keep for themselves, and what the user excludes:
by `--exclude` and by files named .tempmeignore, both with the patterns of .gitignore.
"""

import os
import stat
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pathspec import GitIgnoreSpec

from tempme_jax.search.errors import VideoIndexError
from tempme_jax.words import printable_name

IGNORE_FILE = b".tempmeignore"
NO_MEDIA_FILE = b".nomedia"  # with which Android hides a folder from its gallery
INDEX_FOLDER = b".tempme"

# What is left out, as it is counted.
HIDDEN = "hidden"
BY_OPTION = "by --exclude"
BY_FILE = "by .tempmeignore"
NO_MEDIA = "with .nomedia"

# Larger files are no lists of patterns.
MAX_BYTES = 2**20

# Folders of Synology, QNAP, Windows, macOS, Linux and npm: thumbnails, waste and caches. Their
# names in lower case.
_PROGRAM_FOLDERS = {
    name.lower(): name
    for name in (
        "@eaDir", "#recycle", "#snapshot", "@Recycle", "@Recently-Snapshot", ".@__thumb",
        "$RECYCLE.BIN", "RECYCLER", "System Volume Information", "Network Trash Folder",
        "Temporary Items", "__MACOSX", ".AppleDouble", ".Spotlight-V100", ".fseventsd",
        ".DocumentRevisions-V100", ".TemporaryItems", "lost+found", ".thumbnails", ".git",
        "node_modules",
    )
}  # fmt: skip
_TRASH = ".Trash"  # .Trash-1000, .Trashes, .trashed-1700000000-clip.mp4


class Verdict(NamedTuple):
    """What the user's patterns say of a path.

    Attributes:
        excludes: True to leave it out, False to take it, None if no pattern fits.
        label: who says so: BY_OPTION or BY_FILE.
        is_named: whether the pattern ends in the very name. Only then it takes what is left out
            without it: `!*.mp4` is not meant to take what is hidden.
    """

    excludes: bool | None = None
    label: str = ""
    is_named: bool = False


class Exclusion:
    """The rules for one folder and those below it."""

    def __init__(self, patterns: Sequence[str] = ()):
        """Set the patterns of `--exclude`, which go before those of files.

        Raises:
            VideoIndexError: one of them is not a pattern.
        """
        self._patterns = list(patterns)
        lines = [_escape(pattern) for pattern in patterns]
        self._option = _parse(lines, [f"--exclude {pattern!r}" for pattern in patterns])
        self._files: dict[bytes, GitIgnoreSpec] = {}
        self._used: set[int] = set()

    def list_unused(self) -> list[str]:
        """List the patterns of `--exclude` that decided nothing so far."""
        return [each for i, each in enumerate(self._patterns) if i not in self._used]

    def read_ignore_file(self, top: bytes, folder: bytes) -> None:
        """Read the .tempmeignore of a folder below `top`.

        Raises:
            OSError: it cannot be read.
            VideoIndexError: it has a line that is not a pattern, or it is no such file.
        """
        path = os.path.join(top, folder, IGNORE_FILE)
        shown = printable_name(path)
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise VideoIndexError(f"{shown} is not a regular file; replace it by one, or move it")
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW), "rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES or b"\0" in content:
            raise VideoIndexError(
                f"{shown} is not a list of patterns in UTF-8, one a line; mend or move it"
            )
        lines = os.fsdecode(content.removeprefix(b"\xef\xbb\xbf")).splitlines()
        names = [f"{shown}, line {number + 1}: {line!r}" for number, line in enumerate(lines)]
        self._files[folder] = _parse(lines, names)

    def judge(self, path: bytes, *, is_folder: bool) -> Verdict:
        """Return what the user's patterns say of a path, from the top folder."""
        index = _find_last(self._option, path, is_folder)
        if index is not None:
            self._used.add(index)
            return _make_verdict(self._option, index, BY_OPTION, path)
        folder = path
        while folder:
            folder = os.path.dirname(folder)
            spec = self._files.get(folder)
            if spec is not None:
                inner = os.path.relpath(path, folder) if folder else path
                index = _find_last(spec, inner, is_folder)
                if index is not None:
                    return _make_verdict(spec, index, BY_FILE, path)
        return Verdict()


def label_own_rule(name: bytes, *, is_folder: bool) -> str:
    """Return as what a file or folder is counted that is always left out; "" if it is not."""
    text = os.fsdecode(name)
    if text.lower().startswith(_TRASH.lower()):
        return f"{_TRASH}*"
    if is_folder and text.lower() in _PROGRAM_FOLDERS:
        return _PROGRAM_FOLDERS[text.lower()]
    return HIDDEN if name.startswith(b".") else ""


def _find_last(spec: GitIgnoreSpec, path: bytes, is_folder: bool) -> int | None:
    """Return the number of the pattern that decides on a path, the last one that fits."""
    if not len(spec):  # which is usual, and saves time
        return None
    return spec.check_file(os.fsdecode(path) + "/" * is_folder).index


def _make_verdict(spec: GitIgnoreSpec, index: int, label: str, path: bytes) -> Verdict:
    pattern = spec.patterns[index]
    last = str(getattr(pattern, "pattern", "")).rstrip("/").rpartition("/")[2].lstrip("!")
    is_named = last.replace("\\", "") == os.fsdecode(os.path.basename(path))
    return Verdict(bool(pattern.include), label, is_named)


def _parse(lines: Iterable[str], names: Iterable[str]) -> GitIgnoreSpec:
    """Parse lines into as many patterns; names are what an error calls them."""
    parsed = []
    for line, name in zip(lines, names, strict=True):
        try:  # a comment stands for an empty line, which would make no pattern
            parsed += list(GitIgnoreSpec.from_lines([line if line.strip() else "#"]).patterns)
        except ValueError as error:
            raise VideoIndexError(
                f"{printable_name(os.fsencode(name))} is not a pattern of the kind of .gitignore"
            ) from error
    return GitIgnoreSpec(parsed)


def _escape(pattern: str) -> str:
    """Return a pattern as a line, where # begins a comment and spaces at the end are lost."""
    if not pattern.strip():
        raise VideoIndexError("--exclude needs a pattern, such as 'private/' or '*.avi'")
    if pattern.startswith("#"):
        pattern = "\\" + pattern
    text = pattern.rstrip(" ")
    return text + "\\ " * (len(pattern) - len(text))
