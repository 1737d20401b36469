"""The error for weights that do not fit, and lists of what is wrong with them."""

from collections.abc import Iterable


class WeightsError(ValueError):
    """Weights that do not fit the model; the message lists those missing, extra or misshapen."""


class OnlyAdapterError(WeightsError):
    """A file holds what a method learned, and not the backbone."""


def raise_problems(problems: dict[str, Iterable[str]]) -> None:
    """Raise a WeightsError that lists the names under each problem, if there are any."""
    lists = [
        f"{len(list(names))} {what}: {shorten(names)}" for what, names in problems.items() if names
    ]
    if lists:
        raise WeightsError("; ".join(lists))


def shorten(names: Iterable[str], most: int = 12) -> str:
    """Return the first names of a list, and the count of those left out."""
    names = sorted(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
