"""Checks of users' choices, with errors that list what is allowed."""

import difflib
import numbers
from collections.abc import Iterable
from typing import Any


def require_one_of(name: str, names: Iterable[str], kind: str) -> str:
    """Return `name` if it is one of `names`; else raise a ValueError with the nearest ones.

    >>> require_one_of("tempmee", ["tempme", "clip"], "method")
    Traceback (most recent call last):
    ValueError: unknown method: 'tempmee' (did you mean 'tempme'?); there are: clip, tempme
    """
    if name in names:
        return name
    listed = ", ".join(sorted(names)) or "none"
    raise ValueError(f"unknown {kind}: {name!r}{suggest(name, names)}; there are: {listed}")


def suggest(name: object, names: Iterable[str]) -> str:
    """Return " (did you mean ...?)" with the names most like `name`; empty if there are none."""
    near = difflib.get_close_matches(str(name), list(names), n=3, cutoff=0.5)
    return f" (did you mean {' or '.join(map(repr, near))}?)" if near else ""


def require_whole(name: str, value: Any, *, least: int, most: int | None = None) -> int:
    """Return `value` if it is a whole number in range; else raise a ValueError that names it."""
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        whole = int(value)
        if least <= whole and (most is None or whole <= most):
            return whole
    allowed = f"of {least} or more" if most is None else f"from {least} to {most}"
    raise ValueError(f"{name}={value!r} must be a whole number {allowed}")


def require_wholes(name: str, values: Any, *, least: int) -> tuple[int, ...]:
    """Return whole numbers as a tuple; for anything else raise a ValueError that names it."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ValueError(f"{name}={values!r} must be a list of whole numbers of {least} or more")
    return tuple(require_whole(f"one of {name}", value, least=least) for value in values)
