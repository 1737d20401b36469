"""The folder of a run.

A run lives in a folder, its workdir:

    config.json     the settings
    identity.json   hashes of the settings and of the data
    trained_on.txt  hashes of each video that is trained on
    last/           the newest checkpoints, to resume from
    best/           the checkpoint with the best R-Sum on the split that selects
    metrics.jsonl   what training measured at every step; events.* hold the same for TensorBoard
    results.json    the final evaluation
"""

import hashlib
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any, NotRequired, TypedDict

import jax
from jax.experimental import multihost_utils

from tempme_jax.fields import FieldError, parse_fields, parse_json
from tempme_jax.files import write_text
from tempme_jax.methods import list_former_defaults
from tempme_jax.training.config import PARTS, Config, list_changeable
from tempme_jax.training.results import RESULTS

# The file of a workdir that holds its settings.
CONFIG = "config.json"
# The file that tells them, and the data, from others.
IDENTITY = "identity.json"
# The file that lists the videos of the training split.
TRAINED_ON = "trained_on.txt"
# Settings that earlier versions did not have, and how they computed.
ADDED: dict[str, dict[str, Any]] = {
    "data": {"resize": "crop"},
    "train": {
        "least_rate": 0.0, "optimizer": "tempme", "decay_vectors": True, "drop_path": 0.0,
        "dropout": 0.0, "vtc_weight": 0.125, "negative_group": 32, "dial": "off",
        "pooling": "mean", "tau": 0.1,
        "dial_strengths": [1.0, 1.5, 2.0, 4.0],
    },
    "evaluate": {"select_by": "R-Sum", "tau": 0.0, "rerank": 0, "rivals": "captions"},
}  # fmt: skip


class WorkdirError(ValueError):
    """A folder is not the workdir of this run, or a file in it cannot be read."""


class ModelFields(TypedDict):
    """The fields of a workdir's "model" that are read before all are checked."""

    method: str
    options: dict[str, Any]


class ModelPart(TypedDict):
    """The part of config.json that is read before all of it is checked."""

    model: ModelFields


class SplitIdentity(TypedDict):
    """What distinguishes a split from those of other data.

    Attributes:
        videos, captions: their numbers.
        ids: hash of the ids, in their order.
        texts: hash of the captions and groups.
        id_hash: hash of the sorted ids, as results have it.
        files: hash of samples of the videos' files; not there if they are not known, or if the set
            renders its videos itself.
        answers: hash of the answers to the questions and of the list of answers, of a set with
            questions.
    """

    videos: int
    captions: int
    ids: str
    texts: str
    id_hash: str
    files: NotRequired[str]
    answers: NotRequired[str]


class Identity(TypedDict):
    """What a workdir belongs to.

    Attributes:
        config: hash of its config.json.
        data: its splits, by their names in the settings.
        trained_on: hash of its trained_on.txt; earlier versions wrote none.
    """

    config: str
    data: dict[str, SplitIdentity]
    trained_on: NotRequired[str]


def open_workdir(workdir: str | os.PathLike, config: Config) -> pathlib.Path:
    """Make the workdir of a run, or check the one that is there.

    The first process makes it, after all processes have looked.

    Raises:
        WorkdirError: if the folder is the workdir of a run with other settings, which it names, or
            holds other files.
    """
    folder = pathlib.Path(workdir)
    check_workdir(folder, config)
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("workdir is looked at")
    if jax.process_index() == 0 and not is_begun(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / IDENTITY).unlink(missing_ok=True)  # of an attempt that made no step
        write_text(folder / CONFIG, json.dumps(config.to_json(), indent=1) + "\n")
    return folder


def check_workdir(folder: pathlib.Path, config: Config) -> None:
    """Raise a WorkdirError if a folder cannot be the workdir of a run with these settings."""
    if (folder / CONFIG).exists():
        differences = list(list_differences(read_config(folder), config.to_json()))
        if differences and is_begun(folder):
            raise WorkdirError(
                f"{folder} is the workdir of a run with other settings: {'; '.join(differences)}. "
                "Choose another --workdir, or give these settings to resume it"
            )
    elif folder.exists() and not folder.is_dir():
        raise WorkdirError(f"{folder} is not a folder; choose another --workdir")
    elif folder.exists():
        # An interrupted attempt may have left settings that were not written to their end.
        others = {file.name for file in folder.iterdir() if not file.match(f".{CONFIG}.*")}
        if others:
            raise WorkdirError(
                f"{folder} holds other files ({min(others)}) and no {CONFIG} of a run; choose "
                "another --workdir"
            )


def is_begun(folder: pathlib.Path) -> bool:
    """Return whether a workdir holds a checkpoint or results, which belong to its settings."""
    return any(folder.glob("last/[0-9]*")) or (folder / RESULTS).exists()


def read_config(folder: str | os.PathLike) -> dict[str, Any]:
    """Return the settings of the run in a workdir.

    Raises:
        WorkdirError: if its config.json is missing or damaged.
    """
    file, identity = pathlib.Path(folder) / CONFIG, read_identity(folder)
    try:
        if identity and hash_file(file) != identity["config"]:
            raise WorkdirError(
                f"{file} is not as the run wrote it; restore it from a copy. If you changed it on "
                f"purpose, remove {IDENTITY} beside it"
            )
        settings = parse_fields(file.read_bytes(), ModelPart, CONFIG)
        model = settings["model"]
        former = list_former_defaults(model["method"], model["options"])
    except WorkdirError:
        raise
    except (OSError, ValueError) as error:
        raise WorkdirError(
            f"{file} cannot be read ({error}). Restore it from a copy, or train in another "
            "--workdir"
        ) from error
    model["options"] = former | model["options"]
    for part, added in ADDED.items():
        given = settings.get(part, {})
        settings[part] = added | given if isinstance(given, dict) else given
    return settings


def read_identity(folder: str | os.PathLike) -> Identity | None:
    """Return what a workdir belongs to; None if it was begun by version 0.1, or not at all.

    Raises:
        WorkdirError: if its identity.json is damaged.
    """
    file = pathlib.Path(folder) / IDENTITY
    try:
        return parse_fields(file.read_bytes(), Identity, IDENTITY)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise WorkdirError(
            f"{file} cannot be read ({error}). Restore it from a copy; or remove it, if you are "
            "sure that the settings and data are those that the run began with"
        ) from error


def hash_file(file: pathlib.Path) -> str:
    """Return the SHA-256 of the content of a file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def list_differences(was: dict[str, Any], now: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield a line for every setting that differs and may not change between attempts."""
    for name in sorted(was.keys() | now.keys()):
        path = prefix + name
        before, after = was.get(name), now.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from list_differences(before, after, f"{path}.")
        elif before != after and path not in list_changeable():
            yield f"{path} was {before!r}, is {after!r}"


def is_workdir(folder: str | os.PathLike) -> bool:
    """Return whether a folder holds the settings of a run, also if they are damaged."""
    file = pathlib.Path(folder) / CONFIG
    try:
        content = parse_json(file.read_bytes(), CONFIG)
    except OSError:
        return False
    except FieldError:
        content = None
    if isinstance(content, dict) and PARTS.keys() <= content.keys():
        return True
    return (file.parent / IDENTITY).exists() or any(file.parent.glob("last/[0-9]*"))
