"""Settings from config files and flags, checked: everything later takes a `Config`.

The files in `configs/` begin with `make_defaults`. `parse_flags` runs one of them, applies single
settings from the command line, and `build_config` checks the result.
"""

import dataclasses
import math
import pathlib
import re
import shlex
import sys
import types
import typing
from collections.abc import Iterator
from typing import Any

import absl.flags
import ml_collections
from ml_collections import config_dict, config_flags

from tempme_jax.checks import require_one_of, suggest
from tempme_jax.fields import check_type
from tempme_jax.methods import find_plugins, split_method
from tempme_jax.networks.architecture import Architecture
from tempme_jax.plugins import find_source
from tempme_jax.training.allowed import check_config
from tempme_jax.training.config import PARTS, Config
from tempme_jax.training.hints import require_setting, suggest_flag

# A flag that gives a single setting.
SETTING = re.compile(r"--?(?:no)?config\.([^=]+)")
# A flag that names the config file; the words behind its colon go to the file's `get_config`.
FILE = re.compile(r"(--?config=)([^:]+)(.*)", re.DOTALL)


def parse_flags(flags: list[str]) -> Config:
    """Return the settings of a run that is started with these flags.

    Args:
        flags: "--config=FILE:WORDS", and "--config.x.y=value" for single settings.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file fails or a setting is unknown or not allowed.
    """
    flags = find_files(flags)
    check_names(flags)
    try:
        return note_plugins(build_config(read_config_file(flags)))
    except (absl.flags.Error, AttributeError, KeyError, TypeError, OSError) as error:
        problem = str(error).strip()
        if "Traceback" in problem:  # of the config file: its last line is the error
            problem = problem.splitlines()[-1]
        raise ValueError(f"{shlex.join(flags)}: {problem}") from error


def find_config_file(file: str) -> str:
    """Return the path of a config file: as given, or else that of the copy in the installation.

    A wheel carries the folder `configs`, which pip puts into `share/tempme_jax` of the environment.
    So "configs/msrvtt.py" is found from any folder; a file of the user's own comes first.

    Raises:
        FileNotFoundError: if there is no such file; it names the places, and similar files there.
    """
    share = pathlib.Path(sys.prefix) / "share" / "tempme_jax"
    places = [pathlib.Path(file)]
    if not places[0].is_absolute():
        places.append(share / file)
    for place in places:
        if place.is_file():
            return str(place)
    names = [pathlib.Path(file).with_name(other.name) for place in places
             for other in place.parent.glob("*.py")]  # fmt: skip
    where = " and in ".join(map(str, dict.fromkeys([pathlib.Path.cwd(), share][: len(places)])))
    hint = suggest(file, dict.fromkeys(map(str, names)))
    looked = f"; looked for it in {where}" if len(places) > 1 else ""
    raise FileNotFoundError(f"there is no config file {file}{hint}{looked}")


def find_files(flags: list[str]) -> list[str]:
    """Return the flags with the path of the config file replaced by where it was found."""
    found = []
    for flag in flags:
        parts = FILE.fullmatch(flag)
        found.append(parts[1] + find_config_file(parts[2]) + parts[3] if parts else flag)
    return found


def check_names(flags: list[str]) -> None:
    """Check that all flags are of the config, and that the settings they name exist.

    Raises:
        ValueError: if one is not; it names similar ones of any level.
    """
    make_importable(flags)
    config = read_plain_config(flags)
    for flag in flags:
        if setting := SETTING.match(flag):
            if config is not None:
                require_setting(setting[1], flag, config)
        elif not FILE.fullmatch(flag):
            hint = suggest_flag(flag, config or make_defaults())
            raise ValueError(f"unknown word: {flag}{hint}; settings are --config.NAME=VALUE")


def read_plain_config(flags: list[str]) -> ml_collections.ConfigDict | None:
    """Return what the config file gives without further flags; None if it cannot be read."""
    try:
        config = read_config_file([flag for flag in flags if FILE.fullmatch(flag)])
    except (absl.flags.Error, AttributeError, KeyError, TypeError, OSError):
        return None  # whoever needs the file reports this
    return config if isinstance(config, ml_collections.ConfigDict) else None


def note_plugins(config: Config) -> Config:
    """Return the settings with the plugins that the method and the data set come from."""
    found = [*find_plugins(config.model.method), find_source("data set", config.data.name)]
    return dataclasses.replace(config, plugins=tuple(dict.fromkeys(filter(None, found))))


def read_config_file(flags: list[str]) -> Any:
    """Run a config file and apply flags to what it returns; None without a file."""
    values = absl.flags.FlagValues()
    words = ["tempme", *flags]
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=words)
    values(words, known_only=True)
    return values.config


def make_importable(flags: list[str]) -> None:
    """Let a config file import its neighbours as `configs.NAME`, from any current folder."""
    for parts in filter(None, map(FILE.fullmatch, flags)):
        home = str(pathlib.Path(parts[2]).resolve().parent.parent)
        if home not in sys.path:
            sys.path.insert(0, home)


def make_defaults(method: str = "tempme") -> ml_collections.ConfigDict:
    """Return all settings with their defaults, for a config file to change.

    >>> config = make_defaults("lora")
    >>> config.model.options.rank = 16
    >>> config.train.batch_size
    128

    Args:
        method: the method, whose options become `config.model.options`.

    Raises:
        ValueError: if the method is unknown.
    """
    initial = Config()
    plain = dict[str, Any](seed=initial.seed, profile=initial.profile)
    parts = {name: make_overridable(getattr(initial, name)) for name in PARTS}
    config: Any = ml_collections.ConfigDict(plain | parts, type_safe=False)
    config.model.method = method
    for half in split_method(method):
        config.model.options.update(make_overridable(half))
    for field in dataclasses.fields(Architecture):
        config.model.architecture[field.name] = config_dict.placeholder(object)
    return config


def make_overridable(settings: Any) -> dict[str, Any]:
    """Return the fields of a dataclass such that flags can set each, also one that may be None."""
    values = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if types.NoneType in typing.get_args(field.type):  # a flag takes the type of the default
            value = config_dict.FieldReference(value, field_type=object)
        values[field.name] = value
    return values


def build_config(given: ml_collections.ConfigDict | dict[str, Any]) -> Config:
    """Check what a config file and the command line give.

    Raises:
        ValueError: if a setting is unknown or not allowed.
    """
    given = given.to_dict() if isinstance(given, ml_collections.ConfigDict) else dict(given)
    parts = {name: build_part(name, kind, given.pop(name, {})) for name, kind in PARTS.items()}
    plain = {field.name: field.type for field in dataclasses.fields(Config)}
    for name, value in given.items():
        require_one_of(name, plain, "setting")
        given[name] = check_type(name, value, plain[name])
    sizes = parts["model"].architecture.items()
    sizes = {size: value for size, value in sizes if value is not None}
    parts["model"] = dataclasses.replace(parts["model"], architecture=sizes)
    config = Config(**parts, **given)
    check_config(config)
    return config


def build_part(name: str, kind: type, given: dict[str, Any]) -> Any:
    """Make one part of the settings, with values of the types of its fields."""
    fields = {field.name: field for field in dataclasses.fields(kind)}
    values = {}
    for key, value in check_type(name, given, dict[str, Any]).items():
        require_one_of(key, fields, f"setting of {name}")
        values[key] = check_type(f"{name}.{key}", value, fields[key].type)
    return kind(**values)


def format_config(config: Config) -> str:
    """Return Python that makes a config with the same settings, with a line for each.

    It can be pasted into a config file: `config` is what its `get_config` returns.
    """
    lines = [
        *(["from tempme_jax import load_plugin"] if config.plugins else []),
        "from tempme_jax.training.flags import make_defaults",
        "",
        *(f"load_plugin({source!r})" for source in config.plugins),
        f"config = make_defaults({config.model.method!r})",
    ]
    for name, value in vars(config).items():
        if name not in PARTS and name != "plugins":
            lines.append(f"config.{name} = {value!r}")
        if name not in PARTS:
            continue
        lines += ["", *list_assignments(f"config.{name}", vars(value))]
        if name == "model" and None in value.options.values():
            lines.append("# An option that is None follows the backbone and the number of frames.")
    return "\n".join(lines) + "\n"


def list_assignments(place: str, values: dict[str, Any]) -> Iterator[str]:
    """Yield a line of Python for every value, also of dictionaries within."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from list_assignments(f"{place}.{name}", value)
        elif isinstance(value, float) and not math.isfinite(value):
            yield f"{place}.{name} = float({str(value)!r})"
        else:
            yield f"{place}.{name} = {value!r}"
