"""Which setting a user may have meant: names like a mistyped one, at any level of the settings."""

import difflib
from collections.abc import Iterator

import ml_collections

from tempme_jax.checks import require_one_of

# At most so many names are shown.
MOST = 3


def require_setting(path: str, flag: str, config: ml_collections.ConfigDict) -> None:
    """Raise a ValueError unless a config has a setting.

    Args:
        path: path of the setting, such as "model.rank".
        flag: the flag that gives it, for the error.
        config: all settings.

    Raises:
        ValueError: there is none; it names those of that level, and similar ones of any level.
    """
    place, names = config, path.split(".")
    for number, name in enumerate(names, start=1):
        inside = place if isinstance(place, ml_collections.ConfigDict) else {}
        if name not in inside:
            same = find_same_name(path, list_paths(config))
            others = [] if number < len(names) else find_similar(path, list_paths(config))
            lasts = {other.rpartition(".")[2] for other in [*same, *others]}
            nearest = difflib.get_close_matches(name, [*inside, *lasts], n=1, cutoff=0.5)
            if set(inside) & set(nearest):
                require_one_of(name, inside, f"setting ({flag})")
            listed = ", ".join(sorted(inside)) or "none"
            hint = suggest_paths(same or find_similar(path, list_paths(config)))
            raise ValueError(f"unknown setting ({flag}): {name!r}{hint}; there are: {listed}")
        place = inside[name]


def suggest_flag(flag: str, config: ml_collections.ConfigDict) -> str:
    """Return " (did you mean ...?)" for a flag that is not of a setting; empty if none is like it.

    >>> from tempme_jax.training.flags import make_defaults
    >>> suggest_flag("--learning_rate=1e-4", make_defaults("lora"))
    " (did you mean '--config.train.learning_rate=1e-4'?)"
    """
    name, equals, value = flag.lstrip("-").partition("=")
    paths = list_paths(config)
    found = [path for path in paths if path == name] or find_same_name(name, paths)
    found = found or find_similar(name, paths)
    return suggest_paths([f"--config.{path}{equals}{value}" for path in found])


def find_same_name(path: str, paths: list[str]) -> list[str]:
    """Return the settings whose last name is that of a path."""
    name = path.rpartition(".")[2]
    return [other for other in paths if other.rpartition(".")[2] == name]


def find_similar(path: str, paths: list[str]) -> list[str]:
    """Return the settings whose last name is like that of a path."""
    name = path.rpartition(".")[2]
    near = difflib.get_close_matches(name, {other.rpartition(".")[2] for other in paths}, n=MOST)
    return [other for one in near for other in find_same_name(one, paths)]


def suggest_paths(paths: list[str]) -> str:
    """Return " (did you mean ...?)" with the first paths; empty if there are none."""
    return f" (did you mean {' or '.join(map(repr, paths[:MOST]))}?)" if paths else ""


def list_paths(config: ml_collections.ConfigDict) -> list[str]:
    """Return the paths of all settings of a config, such as "model.options.rank"."""
    return list(walk(config, ""))


def walk(config: ml_collections.ConfigDict, before: str) -> Iterator[str]:
    """Yield the paths of the settings below a part of a config."""
    for name, value in config.items():
        if isinstance(value, ml_collections.ConfigDict):
            yield from walk(value, f"{before}{name}.")
        else:
            yield before + name
