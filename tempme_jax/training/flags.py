"""Settings from config files and flags, checked; nothing behind this sees a `ConfigDict`.

The files in `configs/` begin with `defaults`; `from_flags` reads one of them, with single settings
from the command line, and `build` checks what they give.
"""

import dataclasses
import math
import pathlib
import re
import shlex
import sys
import types
import typing
from typing import Any

import absl.flags
import ml_collections
from ml_collections import config_dict, config_flags

from tempme_jax.checks import require_one_of, require_whole
from tempme_jax.methods import split_method as parts_of_method
from tempme_jax.methods import with_options
from tempme_jax.networks.architecture import ARCHITECTURES, Architecture
from tempme_jax.training.config import (
    AUGMENTATION,
    BATCHES,
    DTYPES,
    PARTS,
    SAMPLING,
    SCHEDULES,
    SELECTION,
    Config,
    TrainSettings,
)
from tempme_jax.training.metrics import TIES

# A flag that gives a single setting.
SETTING = re.compile(r"--?(?:no)?config\.([^=]+)")


def from_flags(flags: list[str]) -> Config:
    """The settings of a run that is started with these flags.

    Args:
        flags: "--config=FILE:WORDS", and "--config.x.y=value" for single settings.

    Raises:
        ValueError: if the file or a setting cannot be; it says what can.
    """
    check_names(flags)
    try:
        return build(parse(flags))
    except (absl.flags.Error, AttributeError, KeyError, TypeError, OSError) as error:
        said = str(error).strip()
        if "Traceback" in said:  # of the config file: its last line is the error
            said = said.splitlines()[-1]
        raise ValueError(f"{shlex.join(flags)}: {said}") from error


def check_names(flags: list[str]) -> None:
    """Whether the settings that flags name are there; without its file none can be checked.

    Raises:
        ValueError: if one is not; it says which is most like it.
    """
    make_importable(flags)
    try:
        config = parse([flag for flag in flags if not SETTING.match(flag)])
    except (absl.flags.Error, AttributeError, KeyError, TypeError, OSError):
        return  # that is for those to report who need what the file gives
    if not isinstance(config, ml_collections.ConfigDict):
        return
    for flag in flags:
        place, setting = config, SETTING.match(flag)
        for name in setting[1].split(".") if setting else ():
            inside = place if isinstance(place, ml_collections.ConfigDict) else ()
            place = inside[require_one_of(name, inside, f"setting ({flag})")]


def parse(flags: list[str]) -> ml_collections.ConfigDict | None:
    """What a config file and flags give; None without a file."""
    values = absl.flags.FlagValues()
    words = ["tempme", *flags]
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=words)
    values(words, known_only=True)
    return values.config


def make_importable(flags: list[str]) -> None:
    """Lets a config file import those beside it as `configs`, wherever it is run from."""
    for flag in flags:
        name, _, value = flag.lstrip("-").partition("=")
        if name == "config" and value:
            home = str(pathlib.Path(value.split(":")[0]).resolve().parent.parent)
            if home not in sys.path:
                sys.path.insert(0, home)


def defaults(method: str = "tempme") -> ml_collections.ConfigDict:
    """All settings as a `ConfigDict` that a config file fills in, options of the method among them.

    Raises:
        ValueError: if the method is unknown; it says which are known.
    """
    initial = Config()
    parts = {name: overridable(getattr(initial, name)) for name in PARTS}
    config = ml_collections.ConfigDict(overridable(initial) | parts, type_safe=False)
    config.model.method = method
    for part_of_method in parts_of_method(method):
        config.model.options.update(overridable(part_of_method))
    for field in dataclasses.fields(Architecture):
        config.model.architecture[field.name] = config_dict.placeholder(object)
    return config


def overridable(settings: Any) -> dict[str, Any]:
    """The fields of a dataclass, such that flags can set each, also one that is or may be None."""
    values = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if types.NoneType in typing.get_args(field.type):  # a flag takes the type of the default
            value = config_dict.FieldReference(value, field_type=object)
        values[field.name] = value
    return values


def build(given: ml_collections.ConfigDict | dict[str, Any]) -> Config:
    """Checks what a config file and the command line give.

    Raises:
        ValueError: if a setting is unknown or cannot be; it says what can.
    """
    given = given.to_dict() if isinstance(given, ml_collections.ConfigDict) else dict(given)
    parts = {name: part(name, kind, given.pop(name, {})) for name, kind in PARTS.items()}
    plain = {field.name: field.type for field in dataclasses.fields(Config)}
    for name, value in given.items():
        require_one_of(name, plain, "setting")
        typed(name, value, plain[name])
    sizes = parts["model"].architecture.items()
    sizes = {size: value for size, value in sizes if value is not None}
    parts["model"] = dataclasses.replace(parts["model"], architecture=sizes)
    config = Config(**parts, **given)
    check(config)
    return config


def part(name: str, kind: type, given: dict[str, Any]) -> Any:
    """One part, of its settings, in the types of its defaults."""
    fields = {field.name: field for field in dataclasses.fields(kind)}
    values = {}
    for key, value in given.items():
        require_one_of(key, fields, f"setting of {name}")
        values[key] = typed(f"{name}.{key}", value, fields[key].type)
    return kind(**values)


def typed(name: str, value: Any, kind: Any) -> Any:
    """A value, if it is of the type of its default; a whole number may stand for a float."""
    if typing.get_origin(kind) is dict:
        kind = dict
    if type(value) is int and not isinstance(value, kind) and isinstance(float(value), kind):
        return float(value)
    if not isinstance(value, kind) or (type(value) is bool and kind is not bool):
        raise ValueError(f"{name}={value!r} must be of type {getattr(kind, '__name__', kind)}")
    return value


def check(config: Config) -> None:
    """Raises a ValueError for settings that cannot be."""
    data, model, evaluate = config.data, config.model, config.evaluate
    recipe = parts_of_method(model.method)
    options = {name: value for name, value in model.options.items() if value is not None}
    with_options(model.method, *recipe, options)
    for name in model.architecture:
        require_one_of(
            name, {field.name for field in dataclasses.fields(Architecture)}, "size of a model"
        )
    require_one_of(model.dtype, DTYPES, "dtype")
    check_training(config.train)
    require_one_of(evaluate.frame_sampling, SAMPLING[:2], "frame sampling of the evaluation")
    require_one_of(evaluate.ties, TIES, "rule for ties")
    require_one_of(evaluate.select_on, SELECTION, "way to select a checkpoint")
    for name in ("size", "least", "most"):
        require_whole(f"data.{name}", getattr(data, name), least=1)
    require_whole("evaluate.batch_size", evaluate.batch_size, least=1)
    if evaluate.dual_softmax and evaluate.qb_norm:
        raise ValueError("evaluate.dual_softmax and evaluate.qb_norm are both on; choose one")
    if not model.weights and not model.architecture:
        raise ValueError(
            "config.model.weights is empty: name pretrained weights "
            f"(such as 'openai/clip-vit-base-patch32'), or give the sizes of "
            f"config.model.architecture (a field or more of {sorted(ARCHITECTURES)[0]}'s)"
        )


def check_training(train: TrainSettings) -> None:
    """Raises a ValueError for settings of training that cannot be."""
    require_one_of(train.batches, BATCHES, "kind of batches")
    require_one_of(train.frame_sampling, SAMPLING, "frame sampling")
    require_one_of(train.augmentation, AUGMENTATION, "augmentation")
    require_one_of(train.schedule, SCHEDULES, "schedule of the learning rate")
    require_whole("train.batch_size", train.batch_size, least=2)
    for name in ("steps", "gradient_cache", "log_every", "evaluate_every", "checkpoint_every"):
        require_whole(f"train.{name}", getattr(train, name), least=0)
    require_whole("train.epochs", train.epochs, least=0 if train.steps else 1)
    if not 0 <= train.warmup < 1:
        raise ValueError(f"train.warmup={train.warmup} must be a share of the steps, 0 to below 1")
    if not 0 <= train.final_rate <= 1:
        raise ValueError(f"train.final_rate={train.final_rate} must be a share of the peak, 0 to 1")
    if train.final_rate and train.schedule == "constant":
        raise ValueError(
            f"train.final_rate={train.final_rate} is where a cosine ends; set it to 0, or choose "
            "train.schedule='cosine'"
        )
    if not 0 <= train.temperature < math.inf:
        raise ValueError(
            f"train.temperature={train.temperature} must be a positive number, or 0 for CLIP's own"
        )
    if train.gradient_cache and train.batch_size % train.gradient_cache:
        raise ValueError(
            f"train.batch_size={train.batch_size} cannot be cut into parts of "
            f"train.gradient_cache={train.gradient_cache}; choose one that divides it"
        )
