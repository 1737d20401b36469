"""Checkpoints of a run, by Orbax: what trains, the state of the optimiser, and the progress.

A checkpoint is complete or absent: Orbax writes it under another name first.
"""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from tempme_jax.training.sharding import place
from tempme_jax.training.step import TrainState
from tempme_jax.training.workdir import WorkdirError

# The last two: one is left to resume from if the newest is lost.
KEEP = {"last": 2, "best": 1}


@dataclasses.dataclass(frozen=True)
class Progress:
    """The progress of a training; each checkpoint holds one.

    Attributes:
        step: steps made, which is also the place in the data.
        seconds: seconds of training so far.
        best: the best R-Sum so far, None before the first evaluation.
        best_step: the step of the best R-Sum.
    """

    step: int = 0
    seconds: float = 0.0
    best: float | None = None
    best_step: int = 0


class Checkpoints:
    """The checkpoints of one kind in a workdir.

    Args:
        workdir: the folder of the run.
        kind: "last" or "best".
        writes: whether to save checkpoints. If not, nothing in the folder is changed, such as
            files that another process is writing.
    """

    def __init__(self, workdir: str | os.PathLike, kind: str, *, writes: bool = True):
        folder = pathlib.Path(workdir).absolute() / kind
        options = ocp.CheckpointManagerOptions(create=False)
        if writes:
            options = ocp.CheckpointManagerOptions(
                max_to_keep=KEEP[kind], cleanup_tmp_directories=True, create=True
            )
        self.manager = ocp.CheckpointManager(folder, options=options)

    def save(self, state: TrainState, progress: Progress) -> None:
        """Start to write a checkpoint; a complete one of the same step is kept instead."""
        items = {
            "trainable": ocp.args.StandardSave(state.trainable),
            "optimizer": ocp.args.StandardSave(state.optimizer),
            "progress": ocp.args.JsonSave(dataclasses.asdict(progress)),
        }
        self.manager.save(progress.step, args=ocp.args.Composite(**items))

    def restore(self, like: TrainState) -> tuple[TrainState, Progress] | None:
        """Return the newest checkpoint, placed on devices like `like`; None if there is none."""
        newest = self.read_newest(trainable=like.trainable, optimizer=like.optimizer)
        if newest is None:
            return None
        arrays, progress = newest
        step = place(like.step.sharding, np.asarray(progress.step, np.int32))
        return TrainState(step, arrays["trainable"], arrays["optimizer"]), progress

    def read_newest(self, **like: Any) -> tuple[dict[str, Any], Progress] | None:
        """Return the named trees of the newest checkpoint, and its progress.

        Args:
            **like: "trainable" and "optimizer", as needed: trees with the shapes, dtypes and
                shardings to restore to.

        Returns:
            None if there is no checkpoint.

        Raises:
            WorkdirError: if it cannot be read.
        """
        step = self.manager.latest_step()
        if step is None:
            return None
        items: dict[str, Any] = {
            name: ocp.args.StandardRestore(describe_arrays(tree)) for name, tree in like.items()
        }
        items["progress"] = ocp.args.JsonRestore()
        try:
            restored = dict(self.manager.restore(step, args=ocp.args.Composite(**items)))
            return restored, Progress(**restored["progress"])
        except (ValueError, KeyError, TypeError, OSError) as error:
            reason = str(error).partition("\n")[0]
            raise WorkdirError(
                f"the checkpoint {self.manager.directory / str(step)} is damaged ({reason:.200}); "
                "remove this folder to resume from the one before"
            ) from error

    def wait(self) -> None:
        """Wait until everything is written."""
        self.manager.wait_until_finished()

    def close(self) -> None:
        """Wait until everything is written, and end the threads that write."""
        self.wait()
        self.manager.close()


def restore_selected(workdir: str | os.PathLike, like: dict) -> tuple[dict, Progress] | None:
    """Return the parameters trained in a workdir: of the best checkpoint, else of the last.

    Args:
        workdir: the folder of the run.
        like: the parameters that train, with the shapes and shardings to restore to.

    Returns:
        None if there is no checkpoint.
    """
    for kind in ("best", "last"):
        with open_checkpoints(workdir, kind) as checkpoints:
            if checkpoints and (newest := checkpoints.read_newest(trainable=like)):
                return newest[0]["trainable"], newest[1]
    return None


def read_progress(workdir: str | os.PathLike) -> Progress:
    """Return the progress of the training in a workdir, from its newest checkpoint."""
    with open_checkpoints(workdir, "last") as checkpoints:
        found = checkpoints and checkpoints.read_newest()
    return found[1] if found else Progress()


@contextlib.contextmanager
def open_checkpoints(workdir: str | os.PathLike, kind: str) -> Iterator[Checkpoints | None]:
    """Open the checkpoints of one kind for reading; None if there were never any."""
    if not (pathlib.Path(workdir) / kind).is_dir():
        yield None
        return
    checkpoints = Checkpoints(workdir, kind, writes=False)
    try:
        yield checkpoints
    finally:
        checkpoints.close()


def describe_arrays(tree: Any) -> Any:
    """Return the shapes, dtypes and shardings of a tree of arrays."""
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding), tree)
