"""Which videos a search looks at: filters by folder, name, length and date."""

import dataclasses
import datetime
import fnmatch
import math
import os
import re
import unicodedata
from typing import Any

from tempme_jax.late_interaction import require_tau
from tempme_jax.search.arguments import (
    check_count,
    check_names,
    check_path,
    check_seconds,
    check_text,
)

# A name with one of these is a pattern, as in a shell.
WILDCARDS = "*?"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Filters:
    """What a video has to be like to be searched; None for any.

    Attributes:
        folder: the folder that it lies in, or its own path.
        name: a part of its path below the indexed folder, in any case; or, with * or ?, a pattern
            for its file name or for all of that path.
        min_seconds, max_seconds: its length.
        after, before: the day of the file's last change, in local time, both inclusive; a date or
            such as "2026-01-31".

    Raises:
        TypeError: a value is of another type.
        ValueError: a day is none.
    """

    folder: str | os.PathLike | None = None
    name: str | None = None
    min_seconds: float | None = None
    max_seconds: float | None = None
    after: datetime.date | str | None = None
    before: datetime.date | str | None = None

    def __post_init__(self):
        """Check the values, and read the days."""
        checks = {"folder": check_path, "name": check_text}
        checks |= dict.fromkeys(("min_seconds", "max_seconds"), check_seconds)
        for name, check in checks.items():
            if (value := getattr(self, name)) is not None:
                check(name, value)
        for name in ("after", "before"):
            object.__setattr__(self, name, read_day(name, getattr(self, name)))

    @property
    def changed(self) -> tuple[float, float]:
        """The span of time of the last change, in seconds since 1970; the end is exclusive."""
        first = -math.inf if self.after is None else find_midnight(self.after)
        last = math.inf
        if isinstance(self.before, datetime.date) and self.before < datetime.date.max:
            last = find_midnight(self.before + datetime.timedelta(days=1))
        return first, last

    def describe(self) -> str:
        """Return the filters in words, such as "in work of 60 s or more"."""
        words = {
            "in {}": None if self.folder is None else os.fspath(self.folder),
            "with {!r} in its name": self.name or None,
            "of {:g} s or more": self.min_seconds,
            "of {:g} s or less": self.max_seconds,
            "changed on {} or later": self.after,
            "changed on {} or earlier": self.before,
        }
        return " ".join(form.format(value) for form, value in words.items() if value is not None)


def check_options(function: str, k: Any, options: dict[str, Any]) -> None:
    """Check what a search takes beside the query: `k`, filters and a few others.

    Raises:
        TypeError: a value is of another type, or there is no such option.
        ValueError: a number is too small.
    """
    check_count("k", k)
    filters = [field.name for field in dataclasses.fields(Filters)]
    tau = ["tau"] if function == "search" else []
    check_names(options, [*filters, "per_video", "lines", *tau], function)
    if options.get("tau") is not None:
        require_tau("tau", options["tau"])
    if options.get("per_video") is not None:
        check_count("per_video", options["per_video"])


def read_day(what: str, day: datetime.date | str | None) -> datetime.date | None:
    """Return a day that may be given in words; a ValueError says what it may be."""
    if day is None or isinstance(day, datetime.date):
        return day.date() if isinstance(day, datetime.datetime) else day
    try:
        return datetime.date.fromisoformat(day)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what}={day!r} is not a day; give one such as 2026-01-31") from error


def find_midnight(day: datetime.date | str) -> float:
    """Return the beginning of a day in local time, in seconds since 1970."""
    assert isinstance(day, datetime.date)
    try:
        return datetime.datetime.combine(day, datetime.time.min).timestamp()
    except (OSError, OverflowError, ValueError):  # of years that the system cannot count
        return -math.inf if day.year < 1970 else math.inf


def fold_name(name: str) -> str:
    """Return a name as it is compared: upper and lower case, and ways to write ü, are the same."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def make_name_test(name: str) -> "re.Pattern[str]":
    """Return a pattern that `search` finds in a folded path below the indexed folder."""
    folded = fold_name(name.strip())
    if not any(sign in folded for sign in WILDCARDS):
        return re.compile(re.escape(folded))
    # Square brackets are common in names of files, so they stand for themselves.
    shell = fnmatch.translate(folded.replace("[", "[[]"))
    return re.compile(rf"\A{shell}|/(?:{shell})")
