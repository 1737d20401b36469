"""Find the video files that an annotation file names."""

import collections
import os
import pathlib
import unicodedata
import urllib.parse
from collections.abc import Iterable, Iterator

from tempme_jax.datasets.annotations import make_error
from tempme_jax.video.suffixes import DATASET_SUFFIXES, LISTED_SUFFIXES


class VideoFiles:
    """The files below a folder, without hidden folders; links are followed.

    Names are compared in Unicode's composed form, since macOS decomposes accents.

    Args:
        folder: the folder.
        by_path: whether files are named by their path from the folder, not by their last name.

    Raises:
        AnnotationError: the folder is missing or cannot be read.
    """

    def __init__(self, folder: pathlib.Path, *, by_path: bool = False):
        self.folder, self._by_path = folder, by_path
        self._names, self._stems = collections.defaultdict(list), collections.defaultdict(list)
        self._near = collections.defaultdict(list)
        if not folder.is_dir():
            raise make_error(
                folder, "no such folder", "", "put the videos there, or link their folder"
            )
        for file in sorted(walk_files(folder)):
            name = _compose(str(file.relative_to(folder)) if by_path else file.name)
            self._names[name].append(file)
            if file.suffix.lower() in DATASET_SUFFIXES:
                self._stems[cut_suffix(name)].append(file)
                self._near[_simplify(name)].append(file)

    def find(self, name: str, *others: str) -> pathlib.Path | None:
        """Return the file of a video, or None.

        A file of the given name comes first. Else it is a video that differs in its suffix only,
        as one that was recoded to .mp4.

        Args:
            name: name of the video, with or without a suffix.
            others: further names that its file may have, without a suffix.

        Raises:
            AnnotationError: several files fit.
        """
        stems = dict.fromkeys(cut_suffix(_compose(one)) for one in (name, *others))
        files = self._names.get(_compose(name))
        files = files or [file for stem in stems for file in self._stems.get(stem, [])]
        if len(files) > 1:
            listed = " and ".join(str(file.relative_to(self.folder)) for file in files)
            raise make_error(
                self.folder, f"{listed} are for one video", "", "keep one, move the others"
            )
        return files[0] if files else None

    def suggest(self, name: str) -> str:
        """Return " (there is ...)" with the video of nearly this name; empty if there is none.

        The name may differ in case, in width of letters, in spaces around it, in percent signs of
        an address, and in the folders before it.
        """
        near = self._near.get(_simplify(name), [])
        listed = " and ".join(repr(str(file.relative_to(self.folder))) for file in near[:3])
        return f" (there is {listed})" if near else ""


def find_twins(names: Iterable[str]) -> set[str]:
    """Return those names that differ from another one in their suffix only.

    A file with a third suffix could belong to either of them.
    """
    composed = {name: _compose(name) for name in names}
    counts = collections.Counter(map(cut_suffix, {*composed.values()}))
    return {name for name, one in composed.items() if counts[cut_suffix(one)] > 1}


def _compose(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def cut_suffix(name: str) -> str:
    """Return a name without the suffix of a video, or the dot at its end."""
    stem, suffix = os.path.splitext(name)
    return (stem if suffix.lower() in LISTED_SUFFIXES else name).rstrip(".")


def _simplify(name: str) -> str:
    """Return the last name of a path without what people and programs change in names."""
    last = urllib.parse.unquote(name).replace("\\", "/").rpartition("/")[2]
    return cut_suffix(unicodedata.normalize("NFKC", last).casefold().strip()).strip()


def walk_files(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yield all files below a folder, without hidden folders; no folder twice, despite links."""

    def refuse(error):
        raise make_error(error.filename, f"cannot be read ({error.strerror})") from error

    seen = set()
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        status = os.stat(parent)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (pathlib.Path(parent, name) for name in names)
