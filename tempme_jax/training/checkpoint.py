"""Checkpoints of a run: what trains, the optimiser, and where the run is; by Orbax.

A run lives in a folder, its workdir:

    config.json     the settings
    last/           the newest checkpoints, to go on from
    best/           the checkpoint with the best R-Sum on the split that selects
    metrics.jsonl   what was measured on the way, and events.* of TensorBoard
    results.json    the final evaluation

A checkpoint is complete or not there: Orbax writes it under another name first.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from tempme_jax.training.config import CONFIG, Config
from tempme_jax.training.results import NAME, replace_text
from tempme_jax.training.sharding import place
from tempme_jax.training.step import TrainState

# The last two, so that there is one to go on from even if the newest is lost.
KEEP = {"last": 2, "best": 1}
# Settings that change what a run takes, not what it computes.
FREE = (
    "data.root", "data.prepared", "data.workers", "data.decoders", "data.missing", "data.max_bad",
    "train.log_every", "train.checkpoint_every", "evaluate.batch_size", "evaluate.draws",
    "evaluate.dual_softmax", "evaluate.qb_norm", "mesh.data", "mesh.model", "profile",
)  # fmt: skip


class WorkdirError(ValueError):
    """A folder that is not the workdir of this run, or of none."""


@dataclasses.dataclass(frozen=True)
class Progress:
    """What a checkpoint says beside the arrays.

    Attributes:
        step: steps made, which is also the place in the data.
        seconds: of training so far.
        best: the best R-Sum so far, None before the first.
        best_step: the step that reached it.
    """

    step: int = 0
    seconds: float = 0.0
    best: float | None = None
    best_step: int = 0


class Checkpoints:
    """The checkpoints in a workdir, of one kind.

    Args:
        workdir: the folder of the run.
        kind: "last" or "best".
        writes: whether it is to save; else nothing is changed, such as what another process is
            about to write.
    """

    def __init__(self, workdir: str | os.PathLike, kind: str, *, writes: bool = True):
        folder = pathlib.Path(workdir).absolute() / kind
        changes = {"max_to_keep": KEEP[kind], "cleanup_tmp_directories": True, "create": True}
        options = changes if writes else {"create": False}
        self.manager = ocp.CheckpointManager(
            folder, options=ocp.CheckpointManagerOptions(**options)
        )

    def save(self, state: TrainState, progress: Progress) -> None:
        """Starts to write a checkpoint; a complete one of the same step is left as it is."""
        items = {
            "trainable": ocp.args.StandardSave(state.trainable),
            "optimizer": ocp.args.StandardSave(state.optimizer),
            "progress": ocp.args.JsonSave(dataclasses.asdict(progress)),
        }
        self.manager.save(progress.step, args=ocp.args.Composite(**items))

    def restore(self, like: TrainState) -> tuple[TrainState, Progress] | None:
        """The newest, laid out on the devices as `like` is; None if there is none."""
        found = self.newest(trainable=like.trainable, optimizer=like.optimizer)
        if found is None:
            return None
        arrays, progress = found
        step = place(like.step.sharding, np.int32(progress.step))
        return TrainState(step, arrays["trainable"], arrays["optimizer"]), progress

    def restore_trainable(self, like: dict) -> tuple[dict, Progress] | None:
        """What was trained, alone, of the newest checkpoint; None if there is none."""
        found = self.newest(trainable=like)
        return found and (found[0]["trainable"], found[1])

    def newest(self, **like: Any) -> tuple[dict[str, Any], Progress] | None:
        """The newest checkpoint: the trees that are named, and what it says; None if there is none.

        Raises:
            WorkdirError: if it cannot be read.
        """
        step = self.manager.latest_step()
        if step is None:
            return None
        items = {name: ocp.args.StandardRestore(abstract(tree)) for name, tree in like.items()}
        items["progress"] = ocp.args.JsonRestore()
        try:
            found = self.manager.restore(step, args=ocp.args.Composite(**items))
            return found, Progress(**found["progress"])
        except (ValueError, KeyError, TypeError, OSError) as error:
            reason = str(error).partition("\n")[0]
            raise WorkdirError(
                f"the checkpoint {self.manager.directory / str(step)} is damaged ({reason:.200}); "
                "remove this folder to go on from the one before"
            ) from error

    def wait(self) -> None:
        """Until what is being written is complete."""
        self.manager.wait_until_finished()

    def close(self) -> None:
        """Waits, and ends the threads that write."""
        self.wait()
        self.manager.close()


def selected(workdir: str | os.PathLike, like: dict) -> tuple[dict, Progress] | None:
    """What was trained in a workdir: the best checkpoint, else the last; None if there is none.

    Args:
        workdir: the folder of the run.
        like: parameters that train, on the devices as those of the checkpoint are to be.
    """
    for kind in ("best", "last"):
        with opened(workdir, kind) as checkpoints:
            if checkpoints and (found := checkpoints.restore_trainable(like)):
                return found
    return None


def reached(workdir: str | os.PathLike) -> Progress:
    """How far the training in a workdir is, by its newest checkpoint."""
    with opened(workdir, "last") as checkpoints:
        found = checkpoints and checkpoints.newest()
    return found[1] if found else Progress()


@contextlib.contextmanager
def opened(workdir: str | os.PathLike, kind: str) -> Iterator[Checkpoints | None]:
    """The checkpoints of one kind, to be read; None if there were never any."""
    if not (pathlib.Path(workdir) / kind).is_dir():
        yield None
        return
    checkpoints = Checkpoints(workdir, kind, writes=False)
    try:
        yield checkpoints
    finally:
        checkpoints.close()


def abstract(tree: Any) -> Any:
    """The shapes of a tree of arrays, and how they lie on the devices."""
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding), tree)


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
        replace_text(folder / CONFIG, json.dumps(config.as_json(), indent=1) + "\n")
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
