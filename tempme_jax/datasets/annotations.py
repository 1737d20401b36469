"""A row, line or object of an annotation file, and errors that name its place."""

import dataclasses
import math
import os
import pathlib
from collections.abc import Collection, Sequence
from typing import Any

from tempme_jax.checks import suggest
from tempme_jax.datasets.base import AnnotationError


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
            problem = f"{name} must be a number of seconds of 0 or more, not {value!r}"
            comma = isinstance(value, str) and "," in value
            raise self.make_error(problem, "write a point, not a comma" if comma else "")
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
