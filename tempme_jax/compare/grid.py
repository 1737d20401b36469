"""The cross product of settings: `tempme compare --grid train.learning_rate=1e-4,6e-4`."""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence

from tempme_jax.compare.runs import OWN, Contender

OPENING, CLOSING, QUOTES = "([{", ")]}", "'\""


def expand(
    contenders: Sequence[Contender], grid: Iterable[str], overrides: Iterable[str] = ()
) -> list[Contender]:
    """Return each contender with each combination of settings, which its name says.

    Args:
        contenders: rows of a comparison.
        grid: settings with their values, such as "train.learning_rate=1e-4,6e-4"; a value may be
            in brackets, such as "model.options.layers=(3,4),(4,5)".
        overrides: flags of all runs, which must not give the same settings.

    Raises:
        ValueError: if a setting is not written like that, or is given twice, or has a value twice.

    >>> [row.name for row in expand([Contender("lora", "lora")], ["train.warmup=0,0.1"])]
    ['lora, warmup=0', 'lora, warmup=0.1']
    """
    axes = parse_grid(grid, overrides)
    if not axes:
        return list(contenders)
    lasts = [path.rpartition(".")[2] for path in axes]
    titles = [
        last if lasts.count(last) == 1 else path for path, last in zip(axes, lasts, strict=True)
    ]
    found = []
    for one in contenders:
        for values in itertools.product(*axes.values()):
            said = [f"{title}={value}" for title, value in zip(titles, values, strict=True)]
            flags = [f"--config.{path}={value}" for path, value in zip(axes, values, strict=True)]
            found.append(
                # What the paper prints is of its own settings.
                dataclasses.replace(
                    one, name=", ".join([one.name, *said]), flags=(*one.flags, *flags), printed={},
                    note="",
                )
            )  # fmt: skip
    return found


def parse_grid(grid: Iterable[str], overrides: Iterable[str]) -> dict[str, list[str]]:
    """Return the values of each setting, by its path; errors are those of `expand`."""
    given = {flag.lstrip("-").removeprefix("config.").partition("=")[0] for flag in overrides}
    axes: dict[str, list[str]] = {}
    for text in grid:
        name, equals, values = text.lstrip("-").partition("=")
        path = name.strip().removeprefix("config.")
        if not (path and equals):
            raise ValueError(f"--grid {text!r} is not of the form train.learning_rate=1e-4,6e-4")
        if choice := OWN.get(f"config.{path}"):
            raise ValueError(f"--grid {text}: {path} is set by compare; choose {choice} instead")
        if path in axes or path in given:
            raise ValueError(f"--grid {text}: {path} is given twice; leave one of them out")
        axes[path] = split_values(values)
        twice = {value for value in axes[path] if axes[path].count(value) > 1}
        if twice or "" in axes[path]:
            problem = f"has {min(twice)} twice" if twice - {""} else "has an empty value"
            raise ValueError(f"--grid {text} {problem}; write each value once, between commas")
    return axes


def split_values(text: str) -> list[str]:
    """Return the values of a list; commas within brackets and quotes do not separate.

    >>> split_values("(3, 4), (4, 5)")
    ['(3, 4)', '(4, 5)']
    """
    values, depth, quote = [""], 0, ""
    for letter in text:
        if letter in QUOTES:
            quote = "" if quote == letter else quote or letter
        elif not quote:
            depth += (letter in OPENING) - (letter in CLOSING)
        if letter == "," and depth == 0 and not quote:
            values.append("")
        else:
            values[-1] += letter
    return [value.strip() for value in values]
