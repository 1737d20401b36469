"""Read annotation files: comma-separated tables, lines of JSON, and lists in JSON.

Every fault of these files is an `AnnotationError` that names the file and line, and the remedy.
"""

import csv
import dataclasses
import io
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from tempme_jax import fields
from tempme_jax.datasets.annotations import Annotation, make_error
from tempme_jax.datasets.base import AnnotationError
from tempme_jax.datasets.encodings import decode_text

# The separators that programs write between columns, and their names.
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}


def read_text(file: pathlib.Path) -> str:
    """Read a text file; see `decode_text`."""
    try:
        return decode_text(file, file.read_bytes())
    except OSError as error:
        raise make_error(file, f"cannot be read ({error.strerror})") from error


def read_lines(file: pathlib.Path) -> Iterator[tuple[str, str]]:
    """Yield the place and the text of each line that is not blank."""
    # splitlines would also split at form feeds and line separators within sentences.
    for number, line in enumerate(read_text(file).split("\n"), start=1):
        if line.strip():
            yield f"line {number}", line.rstrip("\r")


def read_csv(
    file: pathlib.Path, names: Sequence[str], allowed: Sequence[str] | None = None
) -> Iterator[Annotation]:
    """Yield the rows of a table with a header; see `Annotation.require`.

    The separator is the comma, or the semicolon, tab or bar if only that one makes a header with
    all of `names`. Spreadsheets leave empty columns and rows; they are passed over.
    """
    text = read_text(file)
    known = {name.lower(): name for name in [*names, *(allowed or ())]}
    separator, skipped = _find_separator(text, known, names)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=separator)
    header, start = None, 1
    try:
        for row in reader:
            place, start = f"line {start}", reader.line_num + 1
            if reader.line_num <= skipped or not any(map(str.strip, row)):
                continue
            if header is None:
                header = _tidy_header(row, known)
                head = Annotation(file, place, dict.fromkeys(header)).require(names, allowed)
                if len(head.fields) < len(header):
                    raise head.make_error("two columns have the same name")
                continue
            if any(map(str.strip, row[len(header) :])) or len(row) < len(header):
                problem = f"{len(row)} fields, where the header has {len(header)}"
                advice = f"put quotes around what holds {_SEPARATORS[separator]}"
                advice = (
                    advice if len(row) > len(header) else "fill in the others, or leave them empty"
                )
                raise make_error(file, problem, place, advice)
            yield Annotation(file, place, dict(zip(header, row, strict=False)))
    except csv.Error as error:
        raise make_error(file, f"is not CSV ({error})", f"line {reader.line_num}") from error
    if header is None:
        raise make_error(file, "is empty", "", f"expected the columns {', '.join(names)}")


def _find_separator(text: str, known: dict[str, str], names: Sequence[str]) -> tuple[str, int]:
    """Return the separator of a table, and how many lines precede its header."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    if first.lower().startswith("sep=") and first[4:].strip() in _SEPARATORS:  # a line for Excel
        return first[4:].strip(), 1 + text.partition(first)[0].count("\n")
    for separator in _SEPARATORS:
        try:
            row = next(csv.reader([first], delimiter=separator), [])
        except csv.Error:
            continue
        if len(row) > 1 and {*names} <= {*_tidy_header(row, known)}:
            return separator, 0
    return ",", 0


def _tidy_header(row: list[str], known: dict[str, str]) -> list[str]:
    """Return the names of the columns, without the empty ones at the end."""
    header = [known.get(name.strip().lower(), name.strip()) for name in row]
    while header and not header[-1]:
        header.pop()
    return header


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
    try:
        return fields.parse_json(text, f"{file}, {place}" if place else str(file))
    except fields.FieldError as error:
        raise AnnotationError(str(error)) from error


def read_captions(file: pathlib.Path, allowed: Sequence[str] | None = None) -> Iterator[Annotation]:
    """Yield the captions of a JSON list, each with its video, as VindLU and UMT write them.

    An object is {"video": path, "caption": text}, where the caption may be a list of texts, too;
    there is an annotation for each of them.
    """
    for entry in read_json_list(file, ["caption"]):
        entry.require([], allowed)
        captions = entry.fields["caption"]
        for caption in captions if isinstance(captions, list) else [captions]:
            yield dataclasses.replace(entry, fields=entry.fields | {"caption": caption})
        if captions == []:
            raise entry.make_error("caption is empty", "fill it in, or remove the entry")
