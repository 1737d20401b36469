"""The folder of a run.

A run lives in a folder, its workdir:

    config.json     the settings
    last/           the newest checkpoints, to go on from
    best/           the checkpoint with the best R-Sum on the split that selects
    metrics.jsonl   what was measured on the way, and events.* of TensorBoard
    results.json    the final evaluation
"""

import json
import os
import pathlib
from typing import Any

import jax
from jax.experimental import multihost_utils

from tempme_jax.files import write_text
from tempme_jax.training.config import PARTS, Config
from tempme_jax.training.results import NAME

# The file of a workdir that holds its settings.
CONFIG = "config.json"
# Settings that change what a run takes, not what it computes.
FREE = (
    "data.root", "data.prepared", "data.workers", "data.decoders", "data.missing", "data.max_bad",
    "train.log_every", "train.checkpoint_every", "evaluate.batch_size", "evaluate.draws",
    "evaluate.dual_softmax", "evaluate.qb_norm", "mesh.data", "mesh.model", "profile",
)  # fmt: skip


class WorkdirError(ValueError):
    """A folder that is not the workdir of this run, or of none."""


def open_workdir(workdir: str | os.PathLike, config: Config) -> pathlib.Path:
    """The folder of a run, made if it is not there; by the first process, after all have looked.

    Raises:
        WorkdirError: if it is that of a run with other settings, it says which; or of none.
    """
    folder = pathlib.Path(workdir)
    check_workdir(folder, config)
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("workdir is looked at")
    if jax.process_index() == 0 and not begun(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / CONFIG, json.dumps(config.as_json(), indent=1) + "\n")
    return folder


def check_workdir(folder: pathlib.Path, config: Config) -> None:
    """Raises a WorkdirError if a folder cannot be that of a run with these settings."""
    if (folder / CONFIG).exists():
        differences = list(differing(read_config(folder), config.as_json()))
        if differences and begun(folder):
            raise WorkdirError(
                f"{folder} is the workdir of a run with other settings: {'; '.join(differences)}. "
                "Choose another --workdir, or give these settings to go on with it"
            )
    elif folder.exists() and not folder.is_dir():
        raise WorkdirError(f"{folder} is not a folder; choose another --workdir")
    elif folder.exists() and (others := foreign(folder)):
        raise WorkdirError(
            f"{folder} holds other files ({min(others)}), and no {CONFIG} of a run; choose "
            "another --workdir"
        )


def foreign(folder: pathlib.Path) -> list[str]:
    """The names of what is in a folder, without settings that were not written to their end."""
    return [file.name for file in folder.iterdir() if not file.name.startswith(f".{CONFIG}.")]


def begun(folder: pathlib.Path) -> bool:
    """Whether there is something in a workdir that another run must not take for its own."""
    return any(folder.glob("last/[0-9]*")) or (folder / NAME).exists()


def read_config(folder: str | os.PathLike) -> dict[str, Any]:
    """The settings of the run in a workdir.

    Raises:
        WorkdirError: if it has none that can be read.
    """
    file = pathlib.Path(folder) / CONFIG
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WorkdirError(f"{file} cannot be read: {error}") from error


def differing(was: dict[str, Any], now: dict[str, Any], prefix: str = ""):
    """A line for every setting that differs and matters."""
    for name in sorted(was.keys() | now.keys()):
        path = prefix + name
        before, after = was.get(name), now.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from differing(before, after, f"{path}.")
        elif before != after and path not in FREE:
            yield f"{path} was {before!r}, is {after!r}"


def is_workdir(folder: str | os.PathLike) -> bool:
    """Whether a folder is that of a run: it says with which settings."""
    file = pathlib.Path(folder) / CONFIG
    try:
        return PARTS.keys() <= json.loads(file.read_text(encoding="utf-8")).keys()
    except (OSError, ValueError, AttributeError):  # none, or that of a model of others
        return False
