"""Reading annotation files and finding the video files that they name.

Whatever is wrong with them is an `AnnotationError` that says where, and what to do.
"""

import collections
import csv
import dataclasses
import functools
import hashlib
import io
import json
import math
import os
import pathlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from tempme_jax.checks import suggest
from tempme_jax.datasets.base import AnnotationError, Video

# Files that may be videos, where an annotation names a video without its suffix.
SUFFIXES = frozenset(
    ".mp4 .mkv .webm .avi .mov .m4v .3gp .ts .mpg .mpeg .flv .wmv .asf .ogv".split()
)


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One row, line or item of an annotation file, and where it is.

    Attributes:
        file: the annotation file.
        place: where in it, such as "line 3".
        fields: name -> value.
    """

    file: pathlib.Path
    place: str
    fields: dict[str, Any]

    def error(self, problem: str, advice: str = "") -> AnnotationError:
        """An error that names this entry."""
        return wrong(self.file, problem, self.place, advice)

    def text(self, name: str) -> str:
        """A field that must be text other than blanks, without those around it."""
        value = self.fields.get(name)
        if not isinstance(value, str):
            raise self.error(f"{name} must be text, not {value!r}")
        if not value.strip():
            raise self.error(f"{name} is empty", "fill it in, or remove the entry")
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise self.error(f"{name} holds half a character (a lone surrogate)") from error
        return value.strip()

    def new(self, name: str, known: Collection[str]) -> str:
        """The text of a field that must not be one of those known already."""
        value = self.text(name)
        if value in known:
            raise self.error(f"{name} {value!r} is there twice", "remove one of them")
        return value

    def given(self, name: str) -> bool:
        """Whether the entry says anything in a field that may be left out."""
        return self.fields.get(name) not in (None, "")

    def seconds(self, name: str) -> float | None:
        """A field that is a number of seconds, or left out."""
        if not self.given(name):
            return None
        value = self.fields[name]
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not 0 <= number < math.inf:
            raise self.error(f"{name} must be a number of seconds of 0 or more, not {value!r}")
        return number

    def require(self, names: Sequence[str], allowed: Sequence[str] | None = None) -> "Entry":
        """This entry, if it has all fields of `names`, and none beside the `allowed` ones."""
        missing = [name for name in names if name not in self.fields]
        if missing:
            listed = ", ".join(map(repr, self.fields)) or "none"
            raise self.error(f"there is no field {missing[0]!r}; the fields are {listed}")
        for name in self.fields if allowed is not None else ():
            if name not in allowed:
                advice = f"rename or remove it; allowed are {', '.join(allowed)}"
                raise self.error(f"unknown field {name!r}{suggest(name, allowed)}", advice)
        return self


def wrong(
    file: str | os.PathLike, problem: str, place: str = "", advice: str = ""
) -> AnnotationError:
    """An error that says where something is wrong, and what to do."""
    where = f"{os.fspath(file)}, {place}" if place else os.fspath(file)
    return AnnotationError(f"{where}: {problem}" + (f"; {advice}" if advice else ""))


def read_text(file: pathlib.Path) -> str:
    """The text of a UTF-8 file, with or without a byte order mark."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise wrong(file, f"cannot be read ({error.strerror})") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = 1 + data.count(b"\n", 0, error.start)
        raise wrong(file, "is not UTF-8 text", f"line {line}", "save it as UTF-8") from error


def read_lines(file: pathlib.Path) -> Iterator[tuple[str, str]]:
    """Where each line that is not blank is, and its text without the end of line."""
    # splitlines would also split at the form feeds and line separators inside of sentences.
    for number, line in enumerate(read_text(file).split("\n"), start=1):
        if line.strip():
            yield f"line {number}", line.rstrip("\r")


def read_csv(
    file: pathlib.Path, names: Sequence[str], allowed: Sequence[str] | None = None
) -> Iterator[Entry]:
    """The rows of a comma-separated file with a header; see `Entry.require`."""
    reader = csv.reader(io.StringIO(read_text(file), newline=""), strict=True)
    header, start = None, 1
    try:
        for row in reader:
            place, start = f"line {start}", reader.line_num + 1
            if not row:
                continue
            if header is None:
                header = [name.strip() for name in row]
                head = Entry(file, place, dict.fromkeys(header)).require(names, allowed)
                if len(head.fields) < len(header):
                    raise head.error("two columns have the same name")
                continue
            if len(row) != len(header):
                problem = f"{len(row)} fields, where the header has {len(header)}"
                raise wrong(file, problem, place, "put quotes around what holds commas")
            yield Entry(file, place, dict(zip(header, row, strict=True)))
    except csv.Error as error:
        raise wrong(file, f"is no CSV ({error})", f"line {reader.line_num}") from error
    if header is None:
        raise wrong(file, "is empty", "", f"expected the columns {', '.join(names)}")


def read_jsonl(
    file: pathlib.Path, names: Sequence[str], allowed: Sequence[str] | None = None
) -> Iterator[Entry]:
    """The objects of a file with one on each line; see `Entry.require`."""
    for place, line in read_lines(file):
        yield as_entry(file, place, parse(file, line, place)).require(names, allowed)


def read_json(file: pathlib.Path, kind: type) -> Any:
    """What a JSON file holds, which must be an object (`dict`) or a list."""
    value = parse(file, read_text(file))
    if not isinstance(value, kind):
        wanted = "an object" if kind is dict else "a list"
        raise wrong(file, f"must hold {wanted}, not a {type(value).__name__}")
    return value


def read_json_list(
    file: pathlib.Path, names: Sequence[str], key: str | None = None
) -> Iterator[Entry]:
    """The objects of the list that is a JSON file, or is its field `key`."""
    items = read_json(file, list if key is None else dict)
    if key is not None:
        items = items.get(key)
        if not isinstance(items, list):
            raise wrong(file, f"must hold a list named {key!r}")
    for number, item in enumerate(items):
        yield as_entry(file, f"{key or 'item'}[{number}]", item).require(names)


def as_entry(file: pathlib.Path, place: str, value: Any) -> Entry:
    """An object of a JSON file as an entry."""
    if not isinstance(value, dict):
        raise wrong(file, f"must be an object with fields, not {value!r:.60}", place)
    return Entry(file, place, value)


def parse(file: pathlib.Path, text: str, place: str = "") -> Any:
    """The value that a JSON text stands for; a name given twice in an object is an error."""

    def unique(pairs):
        fields = dict(pairs)
        if len(fields) < len(pairs):
            counts = collections.Counter(name for name, _ in pairs)
            name = counts.most_common(1)[0][0]
            raise wrong(file, f"{name!r} is there twice", place, "remove one of them")
        return fields

    try:
        return json.loads(text, object_pairs_hook=unique)
    except AnnotationError:
        raise
    except json.JSONDecodeError as error:
        raise wrong(file, f"is no JSON ({error.msg})", place or f"line {error.lineno}") from error
    except (ValueError, RecursionError) as error:  # a huge number, or nested too deeply
        raise wrong(file, "is no JSON that can be read", place) from error


class Annotated:
    """What the builders of the published sets share: root/annotations and root/videos."""

    @functools.cached_property
    def files(self) -> "VideoFiles":
        """The files below root/videos."""
        return VideoFiles(self.root / "videos")

    def annotation(self, name: str) -> pathlib.Path:
        """The annotation file of that name.

        Raises:
            AnnotationError: if it does not exist.
        """
        folder = self.root / "annotations"
        advice = f"it comes from {self.HOMEPAGE}; data/README.md says how the files must lie"
        if not folder.is_dir():
            raise wrong(folder, f"no such folder, where {name} should be", "", advice)
        if not (folder / name).is_file():
            hint = suggest(name, [file.name for file in folder.iterdir()])
            raise wrong(folder / name, f"no such file{hint}", "", advice)
        return folder / name

    def video(self, name: str, captions: Iterable[str], *stems: str, end=None) -> Video:
        """A video whose file has one of `stems` before its suffix; without any, is `name`."""
        stems = tuple(dict.fromkeys(stems))
        file = self.files.stemmed(*stems) if stems else self.files.named(name)
        sought = " or ".join(f"{stem}.*" for stem in stems) or name
        return Video(name, file, tuple(captions), end=end, looked_for="" if file else sought)

    @staticmethod
    def held_out(names: Collection[str], count: int) -> set[str]:
        """The `count` names with the least SHA-256: the same ones in whatever order, for ever.

        Of a list of less than ten times as many it is every tenth.
        """
        return set(sorted(names, key=digest)[: min(count, max(1, len(names) // 10))])


def digest(name: str) -> str:
    """The SHA-256 of a name, in hexadecimal."""
    return hashlib.sha256(name.encode()).hexdigest()


class VideoFiles:
    """The files below a folder, found by walking it once.

    Links are followed, since a user may have put links there; hidden folders are not.
    """

    def __init__(self, folder: pathlib.Path):
        """Walks the folder; an AnnotationError says that it cannot."""
        self.folder = folder
        self._names, self._stems = collections.defaultdict(list), collections.defaultdict(list)
        if not folder.is_dir():
            raise wrong(folder, "no such folder", "", "put the videos there, or link their folder")
        for file in sorted(walk(folder)):
            self._names[file.name].append(file)
            if file.suffix.lower() in SUFFIXES:
                self._stems[file.stem].append(file)

    def named(self, name: str) -> pathlib.Path | None:
        """The file of this full name, or None."""
        return self._only(self._names.get(name, []))

    def stemmed(self, *stems: str) -> pathlib.Path | None:
        """The video that has one of these names before its suffix, or None."""
        return self._only([file for stem in stems for file in self._stems.get(stem, [])])

    def _only(self, files: list[pathlib.Path]) -> pathlib.Path | None:
        if len(files) > 1:
            listed = " and ".join(str(file.relative_to(self.folder)) for file in files)
            raise wrong(self.folder, f"{listed} are for one video", "", "keep one, move the others")
        return files[0] if files else None


def walk(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """All files below a folder, but for hidden folders; each once, whatever links there are."""

    def refuse(error):
        raise wrong(error.filename, f"cannot be read ({error.strerror})") from error

    seen = set()
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        status = os.stat(parent)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (pathlib.Path(parent, name) for name in names)
