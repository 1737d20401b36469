"""Checks of what users choose, with errors that say what there is."""

import difflib
import numbers
from collections.abc import Iterable
from typing import Any


def require_one_of(name: str, names: Iterable[str], kind: str) -> str:
    """`name`, if it is one of `names`; else a ValueError with the nearest of them."""
    if name in names:
        return name
    listed = ", ".join(sorted(names)) or "none"
    raise ValueError(f"unknown {kind}: {name!r}{suggest(name, names)}; there are: {listed}")


def suggest(name: str, names: Iterable[str]) -> str:
    """A question with the names most like `name`, to go into an error; empty if there are none."""
    near = difflib.get_close_matches(str(name), list(names), n=3, cutoff=0.5)
    return f" (did you mean {' or '.join(map(repr, near))}?)" if near else ""


def require_whole(name: str, value: Any, *, least: int, most: int | None = None) -> int:
    """`value`, if it is a whole number in the range; else a ValueError that names the option."""
    is_whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if is_whole and least <= value and (most is None or value <= most):
        return int(value)
    allowed = f"of {least} or more" if most is None else f"from {least} to {most}"
    raise ValueError(f"{name}={value!r} must be a whole number {allowed}")


def require_wholes(name: str, values: Any, *, least: int) -> tuple[int, ...]:
    """`values` as a tuple, if they are whole numbers; else a ValueError that names the option."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ValueError(f"{name}={values!r} must be a list of whole numbers of {least} or more")
    return tuple(require_whole(f"one of {name}", value, least=least) for value in values)
