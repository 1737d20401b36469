"""What a run is: every setting with its default and its meaning.

The files in `configs/` fill these in; `build` checks what they give. Nothing behind it sees a
`ConfigDict`.
"""

import dataclasses
import json
import os
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

from tempme_jax.architecture import ARCHITECTURES, Architecture
from tempme_jax.methods import METHODS, with_options
from tempme_jax.metrics import TIES
from tempme_jax.options import known, whole

# A flag that gives a single setting.
SETTING = re.compile(r"--?(?:no)?config\.([^=]+)")
# The file of a workdir that holds its settings.
CONFIG = "config.json"
SAMPLING = ("uniform", "repeat", "random_segment")
AUGMENTATION = ("none", "randaugment")
BATCHES = ("distinct", "shuffle")
DTYPES = ("float32", "bfloat16")
SELECTION = ("validation", "test", "last")


@dataclasses.dataclass(frozen=True)
class Data:
    """Which data set, and which of its frames are stored.

    Attributes:
        name: a name of `DATASETS`.
        variant: of the set, such as "9k" of MSR-VTT; empty = its first.
        root: the folder with the user's annotations/ and videos/; empty = data/<name>.
        prepared: the folder for prepared data.
        size: side of the stored frames in pixels, resized and cropped as CLIP does.
        fps: frames stored of every second; None: `least` frames, evenly spread.
        least, most: frames stored of a video, at least (if it has them) and at most.
        train, validation, test: the splits for each; several are joined by "+".
        missing: "error" or "skip": what to do about listed videos that are not there.
        max_bad: the share of videos that may be unreadable before preparation fails.
        decoders: processes that decode videos in preparation; 0 = one for every core.
        workers: processes that read frames in training; 0 = threads of this one.
    """

    name: str = "msrvtt"
    variant: str = ""
    root: str = ""
    prepared: str = "data/prepared"
    size: int = 224
    fps: float | None = 1.0
    least: int = 12
    most: int = 12
    train: str = "train"
    validation: str = "validation"
    test: str = "test"
    missing: str = "error"
    max_bad: float = 0.01
    decoders: int = 0
    workers: int = 0


@dataclasses.dataclass(frozen=True)
class Model:
    """Which model.

    Attributes:
        weights: a Hugging Face repository, a folder or a file, as `tempme_jax.load` takes it;
            empty = random weights of `architecture`.
        architecture: sizes of a model with random weights: fields of `Architecture`.
        activation: of the MLPs, where the file of weights does not say it.
        method: a name of `METHODS`.
        options: of the method: fields of its adapter and reducer; None = the paper's.
        num_frames: of every video.
        max_words: ids of every text, start and end included.
        dtype: of the activations, "float32" or "bfloat16".
        remat: whether blocks are computed again in the backward pass instead of kept.
    """

    weights: str = "openai/clip-vit-base-patch32"
    architecture: dict[str, Any] = dataclasses.field(default_factory=dict)
    activation: str | None = None
    method: str = "tempme"
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    num_frames: int = 12
    max_words: int = 32
    dtype: str = "float32"
    remat: bool = False


@dataclasses.dataclass(frozen=True)
class Train:
    """How it trains (specification: TempMe's recipe).

    Attributes:
        batch_size: pairs of a step, over all devices.
        epochs: passes over the captions; `steps` in their place, if not 0.
        steps: steps in all; 0 = by `epochs`.
        batches: "distinct": no text and no video twice in a batch, hard negatives together;
            "shuffle": captions in random order, as published.
        frame_sampling: "uniform" (the middles of equal spans; what is missing is masked),
            "repeat" (the same, frames repeat; as published), "random_segment".
        augmentation: "none" or "randaugment" (as the published code does, the paper does not say).
        learning_rate, warmup: the peak, and the share of the steps that it takes to get there.
        weight_decay, b1, b2, eps, clip_norm: of AdamW; clip_norm 0 = gradients as they are.
        gradient_cache: videos that are differentiated at once; 0 = the whole batch. Less memory,
            the same gradients.
        log_every, evaluate_every, checkpoint_every: steps; 0 = at the end only.
    """

    batch_size: int = 128
    epochs: int = 5
    steps: int = 0
    batches: str = "shuffle"
    frame_sampling: str = "repeat"
    augmentation: str = "randaugment"
    learning_rate: float = 6e-4
    warmup: float = 0.1
    weight_decay: float = 0.2
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-6
    clip_norm: float = 1.0
    gradient_cache: int = 0
    log_every: int = 10
    evaluate_every: int = 150
    checkpoint_every: int = 150


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """How it is evaluated.

    Attributes:
        batch_size: videos at once, over all devices.
        frame_sampling: "uniform" or "repeat".
        ties: how equal similarities rank, see `tempme_jax.metrics`.
        select_on: which checkpoint is kept as the best: by R-Sum on "validation", on "test" (as
            published; the numbers are then not those of unseen data), or the "last".
        dual_softmax, qb_norm: re-weighting of the similarities; both need more than the query.
        draws: of the bootstrap, for the confidence intervals.
    """

    batch_size: int = 32
    frame_sampling: str = "repeat"
    ties: str = "average"
    select_on: str = "validation"
    dual_softmax: bool = False
    qb_norm: bool = False
    draws: int = 1000


@dataclasses.dataclass(frozen=True)
class Mesh:
    """How devices are used: `data` x `model` of them; -1 = all that are left.

    Attributes:
        data: the batch is split over these.
        model: frozen kernels are split over these.
    """

    data: int = -1
    model: int = 1


@dataclasses.dataclass(frozen=True)
class Config:
    """A run.

    Attributes:
        data, model, train, evaluate, mesh: see there.
        seed: of the order of the data, the augmentation and what is learned.
        profile: steps of which a profiler trace is written, from the tenth on; 0 = none.
    """

    data: Data = Data()
    model: Model = Model()
    train: Train = Train()
    evaluate: Evaluate = Evaluate()
    mesh: Mesh = Mesh()
    seed: int = 42
    profile: int = 0

    def as_json(self) -> dict[str, Any]:
        """What JSON can hold, equal for equal settings."""
        return json.loads(json.dumps(dataclasses.asdict(self)))


PARTS = {"data": Data, "model": Model, "train": Train, "evaluate": Evaluate, "mesh": Mesh}


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
            place = inside[known(name, inside, f"setting ({flag})")]


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


def is_workdir(folder: str | os.PathLike) -> bool:
    """Whether a folder is that of a run: it says with which settings."""
    file = pathlib.Path(folder) / CONFIG
    try:
        return PARTS.keys() <= json.loads(file.read_text(encoding="utf-8")).keys()
    except (OSError, ValueError, AttributeError):  # none, or that of a model of others
        return False


def defaults(method: str = "tempme") -> ml_collections.ConfigDict:
    """All settings as a `ConfigDict` that a config file fills in, options of the method among them.

    Raises:
        ValueError: if the method is unknown; it says which are known.
    """
    initial = Config()
    parts = {name: overridable(getattr(initial, name)) for name in PARTS}
    config = ml_collections.ConfigDict(overridable(initial) | parts, type_safe=False)
    config.model.method = known(method, METHODS, "method")
    for recipe in METHODS[method]:
        config.model.options.update(overridable(recipe))
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
        known(name, plain, "setting")
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
        known(key, fields, f"setting of {name}")
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
    data, model, train, evaluate = config.data, config.model, config.train, config.evaluate
    recipe = METHODS[known(model.method, METHODS, "method")]
    options = {name: value for name, value in model.options.items() if value is not None}
    with_options(model.method, *recipe, options)
    for name in model.architecture:
        known(name, {field.name for field in dataclasses.fields(Architecture)}, "size of a model")
    known(model.dtype, DTYPES, "dtype")
    known(train.batches, BATCHES, "kind of batches")
    known(train.frame_sampling, SAMPLING, "frame sampling")
    known(train.augmentation, AUGMENTATION, "augmentation")
    known(evaluate.frame_sampling, SAMPLING[:2], "frame sampling of the evaluation")
    known(evaluate.ties, TIES, "rule for ties")
    known(evaluate.select_on, SELECTION, "way to select a checkpoint")
    for name in ("size", "least", "most"):
        whole(f"data.{name}", getattr(data, name), least=1)
    whole("train.batch_size", train.batch_size, least=2)
    whole("evaluate.batch_size", evaluate.batch_size, least=1)
    for name in ("steps", "gradient_cache", "log_every", "evaluate_every", "checkpoint_every"):
        whole(f"train.{name}", getattr(train, name), least=0)
    whole("train.epochs", train.epochs, least=0 if train.steps else 1)
    if not 0 <= train.warmup < 1:
        raise ValueError(f"train.warmup={train.warmup} must be a share of the steps, 0 to below 1")
    if train.gradient_cache and train.batch_size % train.gradient_cache:
        raise ValueError(
            f"train.batch_size={train.batch_size} cannot be cut into parts of "
            f"train.gradient_cache={train.gradient_cache}; choose one that divides it"
        )
    if not model.weights and not model.architecture:
        raise ValueError(
            "config.model.weights is empty: name pretrained weights "
            f"(such as 'openai/clip-vit-base-patch32'), or give the sizes of "
            f"config.model.architecture (a field or more of {sorted(ARCHITECTURES)[0]}'s)"
        )
