"""Checkpoints of a run: what trains, the optimiser, and where the run is; by Orbax.

A checkpoint is complete or not there: Orbax writes it under another name first.
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

# The last two, so that there is one to go on from even if the newest is lost.
KEEP = {"last": 2, "best": 1}


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
