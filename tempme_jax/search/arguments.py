"""Check the arguments of `VideoIndex`: what was given, what is allowed, what to do."""

import math
import numbers
import os
import re
from collections.abc import Iterable
from typing import Any

from tempme_jax.checks import require_whole, suggest

PATH = "a path: str or os.PathLike"
# No dial goes further.
FASTEST = 100.0


def read_queries(text: Any) -> list[str]:
    """Return the sentences of a query, one or several.

    Raises:
        TypeError: it is something else.
        ValueError: one is empty.

    >>> read_queries("a cat"), read_queries(["a cat", "a dog"])
    (['a cat'], ['a cat', 'a dog'])
    """
    texts: list[Any] = [text]
    if isinstance(text, Iterable) and not isinstance(text, str | bytes | os.PathLike):
        texts = list(text)
    for number, one in enumerate(texts):
        place = "" if isinstance(text, str) or len(texts) == 1 else f" number {number + 1}"
        if not isinstance(one, str):
            raise TypeError(
                f"query{place} must be a sentence or a list of sentences, not "
                f"{type(one).__name__}; search_image and search_clip take files"
            )
        if not one.strip():
            raise ValueError(
                f"the text{place} is empty; describe what is to be seen, in a sentence"
            )
    return texts


def check_count(name: str, value: Any, *, least: int = 1) -> None:
    """Raise a TypeError unless a value is a whole number, and a ValueError if it is too small."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name}={value!r} must be a whole number, of {least} or more")
    require_whole(name, value, least=least)


def check_path(name: str, value: Any) -> None:
    """Raise a TypeError unless a value is a path."""
    if not isinstance(value, str | os.PathLike):
        raise TypeError(f"{name} must be {PATH}, not {type(value).__name__}")


def check_text(name: str, value: Any) -> None:
    """Raise a TypeError unless a value is text."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be text, not {type(value).__name__}")


def check_seconds(name: str, value: Any) -> None:
    """Raise a TypeError unless a value is a number."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name}={value!r} must be a number of seconds")


def check_names(names: Iterable[str], allowed: Iterable[str], function: str) -> None:
    """Raise a TypeError for names of arguments that a function does not have."""
    allowed = list(allowed)
    for name in names:
        if name not in allowed:
            raise TypeError(
                f"{function} has no argument {name!r}{suggest(name, allowed)}; there are: "
                f"{', '.join(sorted(allowed))}"
            )


def check_model(model: Any) -> None:
    """Raise a TypeError unless a value is a model, a name or a path."""
    if isinstance(model, str | os.PathLike) or hasattr(model, "embed_video"):
        return
    raise TypeError(
        "model must be a Model, or what tempme_jax.load takes (a repository, a file or a workdir), "
        f"not {type(model).__name__}"
    )


def check_exclude(exclude: Any) -> tuple[str, ...]:
    """Return patterns as a tuple; a TypeError unless they are a list of texts."""
    if isinstance(exclude, str) or not isinstance(exclude, Iterable):
        raise TypeError(f"exclude must be a list of patterns, such as [{str(exclude)!r}]")
    patterns = tuple(exclude)
    for pattern in patterns:
        check_text("each pattern of exclude", pattern)
    return patterns


def check_shard(shard: Any) -> None:
    """Raise a TypeError unless a value is a pair of whole numbers."""
    is_pair = isinstance(shard, tuple | list) and len(shard) == 2
    if not is_pair or not all(type(number) is int for number in shard):
        raise TypeError(f"shard={shard!r} must be two whole numbers, such as (0, 4)")


def parse_speed(text: str | float) -> float:
    """Return a speed that is given as a multiple of the trained one, such as "2x".

    Raises:
        ValueError: if it is none.

    >>> parse_speed("2x"), parse_speed("1.5"), parse_speed(3)
    (2.0, 1.5, 3.0)
    """
    parts = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*[xX×]?\s*", str(text))
    speed = float(parts[1]) if parts and not isinstance(text, bool) else math.nan
    if not 0 < speed <= FASTEST:
        raise ValueError(
            f"speed {text!r} must be a multiple of the speed that the model was trained for, above "
            f"0 and at most {FASTEST:.0f}; write it like 2x, for twice as fast, or 1x, for as "
            "trained"
        )
    return speed
