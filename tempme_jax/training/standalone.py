"""Evaluate a model by itself, on the data and by the protocol of a config: `tempme evaluate`."""

import contextlib
import dataclasses
import json
import os
import pathlib
import sys
from collections.abc import Collection
from typing import Any

from tempme_jax.building import open_weights
from tempme_jax.datasets import DATASETS
from tempme_jax.datasets.prepared import Prepared
from tempme_jax.model import Model
from tempme_jax.parameters import join, list_pretrained_paths, split
from tempme_jax.plugins import load_recorded
from tempme_jax.training.checkpoint import read_progress
from tempme_jax.training.checksums import Progress
from tempme_jax.training.config import Config, DataSettings, ModelSettings
from tempme_jax.training.flags import FILE, SETTING, parse_flags
from tempme_jax.training.identity import list_split_files
from tempme_jax.training.model import check_frames, open_trained
from tempme_jax.training.overlap import Files, describe_overlap, read_trained_on
from tempme_jax.training.places import name_data
from tempme_jax.training.run import describe_split, measure_costs
from tempme_jax.training.sharding import make_mesh, place_params
from tempme_jax.training.splits import open_split, prepare_data, require_same_resize
from tempme_jax.training.tasks import check_task, choose_task
from tempme_jax.training.workdir import is_workdir, read_identity
from tempme_jax.weights.files import load_weights

# Settings of a model that say how it is computed, not which it is.
COMPUTED = ("dtype", "remat")


@dataclasses.dataclass(frozen=True)
class Opened:
    """A model, and what is known of its training.

    Attributes:
        model: the model.
        selected_on: what its checkpoint was selected on; empty if nothing was trained.
        progress: the progress of its checkpoint.
        training: the progress of the whole training.
        trained_on: the videos that it was trained on; None if they are not known.
        trained_ids: hash of all their ids, which earlier versions noted, too; empty if not known.
    """

    model: Model
    selected_on: str
    progress: Progress = Progress()
    training: Progress = Progress()
    trained_on: Files | None = None
    trained_ids: str = ""


def evaluate_model(source: str, config: Config, given: Collection[str] = ()) -> dict[str, Any]:
    """Measure a model on the test split of a config, prepared first if need be.

    Args:
        source: the workdir of a training, a file, a repository or a name, as `load` takes it.
        config: the data and the protocol; the model is that of `source`.
        given: names of settings of the model that the user gave, such as "num_frames". They must be
            those of `source`, or say what it does not: the method of plain CLIP weights.

    Returns:
        The fields of results.json.

    Raises:
        ValueError: if a given setting contradicts the model, or settings do not fit.
        FileNotFoundError: if there is no such model.
        AnnotationError, PreparationError: if the data cannot be prepared.
    """
    mesh = make_mesh(config.mesh.data, config.mesh.model)
    opened = open_model(source, config, given)
    model, data = opened.model, config.data
    require_agreement(model, source, config.model, given)
    require_same_resize(data, model)
    check_task(model.network, config)
    check_frames(model, config.evaluate)
    prepare_data(data)
    prepared = open_split(data, data.test)
    trainable, frozen = split(model.network, model.params)
    params = join(
        place_params(mesh, trainable, split=False), place_params(mesh, frozen, split=True)
    )
    texts = sum(map(len, prepared.captions))
    print(f"Embedding {len(prepared)} videos and {texts} texts of {data.name}", file=sys.stderr)
    bank = open_split(data, data.train) if config.evaluate.qb_norm else None
    config = dataclasses.replace(config, model=describe_model(model, source, config.model))
    measured = choose_task(model.network).evaluate(
        model, params, prepared, config, mesh, intervals=True, bank=bank, quiet=False
    )
    measured["protocol"]["selected_on"] = opened.selected_on
    measured |= describe_split(config, prepared) | measure_costs(model, opened.training)
    measured |= {"step": opened.progress.step, "finished": True}
    measured["found"] = model.reducer.read_found_options(params)
    measured |= {"model": source, "remarks": []}
    if model.drawn.paths:
        measured["remarks"].append("NOT TRAINED: what the method learns is as it was drawn")
    measured["remarks"] += describe_seen(opened, data, prepared)
    return measured


def describe_seen(opened: Opened, data: DataSettings, prepared: Prepared) -> list[str]:
    """Say which of the videos measured were trained on, as far as that is known."""
    if opened.trained_on is not None:
        return describe_overlap(opened.trained_on, list_split_files(data, data.test))
    if not opened.selected_on:
        return []  # nothing was trained
    if opened.trained_ids == prepared.id_hash:
        return ["MEASURED ON THE VIDEOS THAT IT WAS TRAINED ON"]
    return ["whether it was trained on some of these videos is not known"]


def open_model(source: str, config: Config, given: Collection[str]) -> Opened:
    """Open a model; what plain CLIP weights leave open is taken from the config.

    Their method is the one that the user gave, or else "clip", of which nothing needs training.
    """
    settings = config.model
    if is_workdir(source):
        return open_workdir_model(source, config)
    weights = load_weights(source, activation=settings.activation)
    asked: dict[str, Any] = dict.fromkeys(("method", "num_frames", "max_words", "method_options"))
    if "method" not in weights.settings:
        is_plain = weights.params.keys() <= set(list_pretrained_paths(weights.arch))
        method = "clip" if is_plain and "method" not in given else settings.method
        options = {name: value for name, value in settings.options.items() if value is not None}
        asked = {
            "method": method,
            "num_frames": settings.num_frames,
            "max_words": settings.max_words,
            "method_options": options if method == settings.method else {},
            "backbone": settings.architecture.get("backbone"),
        }
    model = open_weights(
        source, **asked, activation=settings.activation, dtype=settings.dtype, seed=config.seed
    )
    is_untrained = not split(model.network, model.params)[0] or model.drawn.paths
    return Opened(model, "" if is_untrained else "data that the file does not name")


def open_workdir_model(source: str, config: Config) -> Opened:
    """Open the model that was trained in a workdir, and what it was selected on."""
    model, trained, progress = open_trained(source, dtype=config.model.dtype)
    if not split(model.network, model.params)[0]:
        return Opened(model, "")
    if trained.data.name not in DATASETS:
        load_recorded(trained.plugins, source)
    on = trained.evaluate.select_on if progress.step == progress.best_step else "last"
    if on != "last" and name_data(trained.data) != name_data(config.data):
        on = f"{on} of {trained.data.name}"
    identity = read_identity(source)
    ids = identity["data"][trained.data.train]["id_hash"] if identity else ""
    seen = read_trained_on(pathlib.Path(source))
    return Opened(model, on, progress, read_progress(source), seen, ids)


def require_agreement(
    model: Model, source: str, settings: ModelSettings, given: Collection[str]
) -> None:
    """Raise a ValueError if a setting of the model that the user gave is not the model's own."""
    halves = dataclasses.asdict(model.adapter) | dataclasses.asdict(model.reducer)
    own = {
        "method": model.method,
        "num_frames": model.num_frames,
        "max_words": model.max_words,
        "weights": source,
        "activation": model.arch.activation,
        **{f"options.{name}": value for name, value in halves.items()},
        **{f"architecture.{n}": value for n, value in dataclasses.asdict(model.arch).items()},
    }
    asked = flatten_settings(settings)
    # The method first: of another one, all options differ.
    for name in sorted(given, key=lambda name: (name != "method", name)):
        is_open = name in COMPUTED or asked.get(name) is None
        if not is_open and json.dumps(asked[name]) != json.dumps(own.get(name)):
            raise ValueError(
                f"config.model.{name}={asked[name]!r} contradicts {source}, whose {name} is "
                f"{own.get(name)!r}; leave it out: --config says the data and the protocol, the "
                "model is what it is"
            )


def list_given(config: str, flags: list[str]) -> set[str]:
    """Return the settings of the model that the user gives, by the words of --config or by flags.

    Args:
        config: the config file, with words behind a colon or without.
        flags: flags for single settings.
    """
    named = [match[1] for flag in flags if (match := SETTING.match(flag))]
    given = {name.removeprefix("model.") for name in named if name.startswith("model.")}
    parts = FILE.fullmatch(f"--config={config}")
    if not parts or not parts[3]:
        return given
    asked, plain = parse_flags([f"--config={config}"]), None
    with contextlib.suppress(ValueError):  # a file that needs words
        plain = parse_flags([f"--config={parts[2]}"])
    before = flatten_settings(plain.model) if plain else {}
    after = flatten_settings(asked.model)
    changed = {name for name in after if name in before and after[name] != before[name]}
    return given | changed | {"method"}


def flatten_settings(settings: ModelSettings) -> dict[str, Any]:
    """Return the settings of a model by their paths, such as "options.rank"."""
    flat = {}
    for name, value in vars(settings).items():
        inner = value if isinstance(value, dict) else {}
        flat |= {f"{name}.{key}": one for key, one in inner.items()} if inner else {name: value}
    return flat


def describe_model(model: Model, source: str | os.PathLike, asked: ModelSettings) -> ModelSettings:
    """Return the settings of a model that was opened."""
    return ModelSettings(
        weights=os.fspath(source),
        activation=model.arch.activation,
        method=model.method,
        options=model.options,
        num_frames=model.num_frames,
        max_words=model.max_words,
        dtype=asked.dtype,
    )
