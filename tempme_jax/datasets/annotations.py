"""Read annotation files, and find the video files that they name.

Every fault of these files is an `AnnotationError` that names the file and line, and the remedy.
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
from typing import Any, ClassVar

from tempme_jax.checks import suggest
from tempme_jax.datasets.base import AnnotationError, Video
from tempme_jax.video.suffixes import DATASET_SUFFIXES


@dataclasses.dataclass(frozen=True, slots=True)
class Annotation:
    """A row, line or object of an annotation file.

    Attributes:
        file: path of the annotation file.
        place: place in the file, such as "line 3".
        fields: values by the names of the fields.
    """

    file: pathlib.Path
    place: str
    fields: dict[str, Any]

    def make_error(self, problem: str, advice: str = "") -> AnnotationError:
        """Make an error that names the place of this annotation."""
        return make_error(self.file, problem, self.place, advice)

    def get_text(self, name: str) -> str:
        """Return the text of a field, stripped; it must not be empty."""
        value = self.fields.get(name)
        if not isinstance(value, str):
            raise self.make_error(f"{name} must be text, not {value!r}")
        if not value.strip():
            raise self.make_error(f"{name} is empty", "fill it in, or remove the entry")
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise self.make_error(f"{name} holds half a character (a lone surrogate)") from error
        return value.strip()

    def get_unique(self, name: str, known: Collection[str]) -> str:
        """Return the text of a field, which must not be one of the `known` ones."""
        value = self.get_text(name)
        if value in known:
            raise self.make_error(f"{name} {value!r} is there twice", "remove one of them")
        return value

    def has(self, name: str) -> bool:
        """Return whether an optional field is filled in."""
        return self.fields.get(name) not in (None, "")

    def get_seconds(self, name: str) -> float | None:
        """Return the number of seconds in an optional field; None if it is not filled in."""
        if not self.has(name):
            return None
        value = self.fields[name]
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not 0 <= number < math.inf:
            raise self.make_error(f"{name} must be a number of seconds of 0 or more, not {value!r}")
        return number

    def require(self, names: Sequence[str], allowed: Sequence[str] | None = None) -> "Annotation":
        """Return this annotation if it has all fields in `names`, and only `allowed` ones."""
        missing = [name for name in names if name not in self.fields]
        if missing:
            listed = ", ".join(map(repr, self.fields)) or "none"
            raise self.make_error(f"there is no field {missing[0]!r}; the fields are {listed}")
        for name in self.fields:
            if allowed is not None and name not in allowed:
                advice = f"rename or remove it; allowed are {', '.join(allowed)}"
                raise self.make_error(f"unknown field {name!r}{suggest(name, allowed)}", advice)
        return self


def make_error(
    file: str | os.PathLike, problem: str, place: str = "", advice: str = ""
) -> AnnotationError:
    """Make an error that says what is wrong, where, and what to do."""
    where = f"{os.fspath(file)}, {place}" if place else os.fspath(file)
    return AnnotationError(f"{where}: {problem}" + (f"; {advice}" if advice else ""))


def read_text(file: pathlib.Path) -> str:
    """Read a UTF-8 file, with or without a byte order mark."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise make_error(file, f"cannot be read ({error.strerror})") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = 1 + data.count(b"\n", 0, error.start)
        raise make_error(file, "is not UTF-8 text", f"line {line}", "save it as UTF-8") from error


def read_lines(file: pathlib.Path) -> Iterator[tuple[str, str]]:
    """Yield the place and the text of each line that is not blank."""
    # splitlines would also split at form feeds and line separators within sentences.
    for number, line in enumerate(read_text(file).split("\n"), start=1):
        if line.strip():
            yield f"line {number}", line.rstrip("\r")


def read_csv(
    file: pathlib.Path, names: Sequence[str], allowed: Sequence[str] | None = None
) -> Iterator[Annotation]:
    """Yield the rows of a comma-separated file with a header; see `Annotation.require`."""
    reader = csv.reader(io.StringIO(read_text(file), newline=""), strict=True)
    header, start = None, 1
    try:
        for row in reader:
            place, start = f"line {start}", reader.line_num + 1
            if not row:
                continue
            if header is None:
                header = [name.strip() for name in row]
                head = Annotation(file, place, dict.fromkeys(header)).require(names, allowed)
                if len(head.fields) < len(header):
                    raise head.make_error("two columns have the same name")
                continue
            if len(row) != len(header):
                problem = f"{len(row)} fields, where the header has {len(header)}"
                raise make_error(file, problem, place, "put quotes around what holds commas")
            yield Annotation(file, place, dict(zip(header, row, strict=True)))
    except csv.Error as error:
        raise make_error(file, f"is not CSV ({error})", f"line {reader.line_num}") from error
    if header is None:
        raise make_error(file, "is empty", "", f"expected the columns {', '.join(names)}")


def read_jsonl(
    file: pathlib.Path, names: Sequence[str], allowed: Sequence[str] | None = None
) -> Iterator[Annotation]:
    """Yield the JSON objects of a file with one on each line; see `Annotation.require`."""
    for place, line in read_lines(file):
        yield make_annotation(file, place, parse_json(file, line, place)).require(names, allowed)


def read_json(file: pathlib.Path, kind: type) -> Any:
    """Read a JSON file that must hold an object (`kind` dict) or a list (`kind` list)."""
    value = parse_json(file, read_text(file))
    if not isinstance(value, kind):
        wanted = "an object" if kind is dict else "a list"
        raise make_error(file, f"must hold {wanted}, not a {type(value).__name__}")
    return value


def read_json_list(
    file: pathlib.Path, names: Sequence[str], key: str | None = None
) -> Iterator[Annotation]:
    """Yield the objects of a list: the whole JSON file, or its field `key`."""
    items = read_json(file, list if key is None else dict)
    if key is not None:
        items = items.get(key)
        if not isinstance(items, list):
            raise make_error(file, f"must hold a list named {key!r}")
    for number, item in enumerate(items):
        yield make_annotation(file, f"{key or 'item'}[{number}]", item).require(names)


def make_annotation(file: pathlib.Path, place: str, value: Any) -> Annotation:
    """Make an annotation of an object of a JSON file; raise if `value` is another JSON type."""
    if not isinstance(value, dict):
        raise make_error(file, f"must be an object with fields, not {value!r:.60}", place)
    return Annotation(file, place, value)


def parse_json(file: pathlib.Path, text: str, place: str = "") -> Any:
    """Parse JSON; a name that stands twice in an object is an error."""

    def make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        fields = dict(pairs)
        if len(fields) < len(pairs):
            counts = collections.Counter(name for name, _ in pairs)
            name = counts.most_common(1)[0][0]
            raise make_error(file, f"{name!r} is there twice", place, "remove one of them")
        return fields

    try:
        return json.loads(text, object_pairs_hook=make_object)
    except AnnotationError:
        raise
    except json.JSONDecodeError as error:
        raise make_error(
            file, f"is not JSON ({error.msg})", place or f"line {error.lineno}"
        ) from error
    except (ValueError, RecursionError) as error:  # a huge number, or nested too deeply
        raise make_error(file, "is not JSON that can be read", place) from error


class AnnotatedSet:
    """A mixin for the published data sets, with their folders root/annotations and root/videos."""

    root: pathlib.Path
    HOMEPAGE: ClassVar[str]

    @functools.cached_property
    def files(self) -> "VideoFiles":
        """Files below root/videos."""
        return VideoFiles(self.root / "videos")

    def find_annotations(self, name: str) -> pathlib.Path:
        """Return the path of an annotation file.

        Raises:
            AnnotationError: it does not exist.
        """
        folder = self.root / "annotations"
        advice = f"it comes from {self.HOMEPAGE}; data/README.md says how the files must lie"
        if not folder.is_dir():
            raise make_error(folder, f"no such folder, where {name} should be", "", advice)
        if not (folder / name).is_file():
            hint = suggest(name, [file.name for file in folder.iterdir()])
            raise make_error(folder / name, f"no such file{hint}", "", advice)
        return folder / name

    def make_video(self, name: str, captions: Iterable[str], *stems: str, end=None) -> Video:
        """Make a video, and find its file by `stems`, names without a suffix, or else by `name`."""
        stems = tuple(dict.fromkeys(stems))
        file = self.files.find_stemmed(*stems) if stems else self.files.find_named(name)
        sought = " or ".join(f"{stem}.*" for stem in stems) or name
        return Video(name, file, tuple(captions), end=end, looked_for="" if file else sought)

    @staticmethod
    def choose_held_out(names: Collection[str], count: int) -> set[str]:
        """Choose the `count` names with the smallest SHA-256; of a short list, a tenth."""
        return set(sorted(names, key=hash_name)[: min(count, max(1, len(names) // 10))])


def hash_name(name: str) -> str:
    """Return the SHA-256 of a name, in hexadecimal."""
    return hashlib.sha256(name.encode()).hexdigest()


class VideoFiles:
    """The files below a folder, without hidden folders; links are followed."""

    def __init__(self, folder: pathlib.Path):
        """Walk the folder; an AnnotationError says if it cannot be read."""
        self.folder = folder
        self._names, self._stems = collections.defaultdict(list), collections.defaultdict(list)
        if not folder.is_dir():
            raise make_error(
                folder, "no such folder", "", "put the videos there, or link their folder"
            )
        for file in sorted(walk_files(folder)):
            self._names[file.name].append(file)
            if file.suffix.lower() in DATASET_SUFFIXES:
                self._stems[file.stem].append(file)

    def find_named(self, name: str) -> pathlib.Path | None:
        """Return the file with this name, or None."""
        return self._require_single(self._names.get(name, []))

    def find_stemmed(self, *stems: str) -> pathlib.Path | None:
        """Return the video with one of these names before its suffix, or None."""
        return self._require_single([file for stem in stems for file in self._stems.get(stem, [])])

    def _require_single(self, files: list[pathlib.Path]) -> pathlib.Path | None:
        if len(files) > 1:
            listed = " and ".join(str(file.relative_to(self.folder)) for file in files)
            raise make_error(
                self.folder, f"{listed} are for one video", "", "keep one, move the others"
            )
        return files[0] if files else None


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
