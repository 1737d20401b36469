"""Find the files and folders whose names hold the words of a query."""

import bisect
import functools
import itertools
import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tempme_jax.search.query.catalogue import Catalogue
from tempme_jax.search.query.results import NameMatch
from tempme_jax.search.store.rows import make_window_id

# Most names that are returned, and most files whose paths are looked at in full.
NAMES_AT_MOST, FILES_AT_MOST = 10, 5000
# Where a word may begin in a path of ASCII; see `begins_word`.
BEGINNING = (
    r"(?:\A|(?<=[^A-Za-z0-9])|(?<=[0-9])(?=[A-Za-z])|(?<=[A-Za-z])(?=[0-9])|(?<=[a-z])(?=[A-Z]))"
)
# Words that tell nothing about a name.
SMALL_WORDS = frozenset("a an and are at by for from in into is of on or the to with".split())


def fold(text: str) -> str:
    """Return a text as it is compared: without upper case and accents.

    >>> fold("Grüße")
    'grusse'
    """
    if text.isascii():
        return text.lower()
    split = unicodedata.normalize("NFKD", text)
    return "".join(letter for letter in split if not unicodedata.combining(letter)).casefold()


def split_words(query: str) -> list[str]:
    """Return the words and numbers of a query that a name has to hold, folded.

    >>> split_words("The cat of IMG_2019")
    ['cat', 'img', '2019']
    """
    words = list(dict.fromkeys(re.findall(r"[^\W\d_]+|\d+", fold(query))))
    return [word for word in words if word not in SMALL_WORDS] or words


def find_word(word: str, name: str) -> int:
    """Return where a folded word begins in a name that is not folded; -1 if nowhere.

    A word of a name begins with it: "cat" is in "Cats", "my_cat" and "BigCat1", not in "location".
    """
    if name.isascii():
        found = make_pattern(word).search(name)
        return found.start() if found else -1
    spans = find_marks([word], name)
    return spans[0][0] if spans else -1


@functools.lru_cache(maxsize=256)
def make_pattern(word: str) -> "re.Pattern[str]":
    """Return what finds a word in a name of ASCII."""
    return re.compile(f"{BEGINNING}(?i:{re.escape(word)})")


def find_marks(words: list[str], name: str) -> list[tuple[int, int]]:
    """Return where folded words stand in a name: pairs of the first letter and the one after it."""
    folded, places = "", []
    for place, letter in enumerate(name):
        part = fold(letter)
        folded += part
        places += [place] * len(part)
    marks = []
    for word in words:
        for found in re.finditer(re.escape(word), folded):
            first, last = places[found.start()], places[found.end() - 1] + 1
            if begins_word(name, first):
                marks.append((first, last))
    return sorted(set(marks))


def begins_word(name: str, place: int) -> bool:
    """Return whether a word or a number begins at a place of a name."""
    if place == 0:
        return True
    before, letter = name[place - 1], name[place]
    if letter.isdigit() or before.isdigit():
        return letter.isdigit() != before.isdigit()
    if not before.isalpha() or letter.lower() == letter.upper():  # such as Chinese: no gaps
        return True
    return before.islower() and letter.isupper()


class NameSearch:
    """The names of an index, which are folded at the first search."""

    def __init__(self, catalogue: Catalogue):
        """Keep the catalogue."""
        self.catalogue = catalogue

    @functools.cached_property
    def _paths(self) -> list[str]:
        """The paths below the indexed folders."""
        return [os.fsdecode(row.path).replace("\n", " ") for row in self.catalogue.rows]

    @functools.cached_property
    def _folded(self) -> tuple[str, list[int]]:
        """All paths in one text, folded, a line each; and where the lines begin, and the end."""
        folded = fold("\n".join(self._paths))
        lengths = (len(line) + 1 for line in folded.split("\n"))
        return folded, list(itertools.accumulate(lengths, initial=0))

    def find(self, query: str, passes: np.ndarray) -> tuple[tuple[NameMatch, ...], int]:
        """Return the names that hold all words of a query, and how many more were seen.

        At most `FILES_AT_MOST` files are looked at: words that are in every name tell nothing.
        A folder stands for all that is below it; folders come first, then files, by path.

        Args:
            query: a text.
            passes: bool [files], which files of the catalogue may be found.
        """
        words = split_words(query)
        if not words:
            return (), 0
        folders: dict[tuple[str, str], list[int]] = {}
        files = []
        for file, folder in self._list_matches(words, passes):
            if folder:
                folders.setdefault((self.catalogue.rows[file].root, folder), []).append(file)
            else:
                files.append(file)
        found = [self._make_match(below[0], name[1], len(below)) for name, below in folders.items()]
        room = max(0, NAMES_AT_MOST - len(found))
        found += [self._make_match(file, "", 1) for file in files[:room]]
        total = len(folders) + len(files)
        return tuple(found[:NAMES_AT_MOST]), max(0, total - NAMES_AT_MOST)

    def _list_matches(self, words: list[str], passes: np.ndarray) -> Iterator[tuple[int, str]]:
        """Yield each file whose path holds the words, and its highest folder that does, or ""."""
        known: dict[str, str] = {}
        for file in itertools.islice(self._list_likely(words, passes), FILES_AT_MOST):
            above, _, _ = self._paths[file].rpartition("/")
            if above not in known:
                known[above] = find_highest(words, above)
            if known[above] or holds_all(words, self._paths[file]):
                yield file, known[above]

    def _list_likely(self, words: list[str], passes: np.ndarray) -> Iterator[int]:
        """Yield the files whose paths hold the letters of all words."""
        folded, starts = self._folded
        longest = max(words, key=len)
        place, file = folded.find(longest), 0
        while place >= 0:
            file = bisect.bisect_right(starts, place, file) - 1
            line = folded[starts[file] : starts[file + 1]]
            if passes[file] and all(word in line for word in words):
                yield file
            place = folded.find(longest, starts[file + 1])

    def _make_match(self, file: int, folder: str, count: int) -> NameMatch:
        row, path = self.catalogue.rows[file], self.catalogue.paths[file]
        if folder:
            depth = len(Path(os.fsdecode(row.path)).parts) - len(Path(folder).parts)
            path = path.parents[depth - 1]
        return NameMatch(
            path=path, is_folder=bool(folder), count=count, file_id=row.id,
            window=make_window_id(row.content, 0), seconds=row.seconds,
        )  # fmt: skip


def find_highest(words: list[str], folder: str) -> str:
    """Return the highest folder in a path that holds all words, as `holds_all` says, or ""."""
    parts = folder.split("/") if folder else []
    for count in range(1, len(parts) + 1):
        above = "/".join(parts[:count])
        if holds_all(words, above):
            return above
    return ""


def holds_all(words: list[str], path: str) -> bool:
    """Return whether all words are in a path, and at least one of them in its last part."""
    last = path.rpartition("/")[2]
    return all(find_word(word, path) >= 0 for word in words) and any(
        find_word(word, last) >= 0 for word in words
    )
