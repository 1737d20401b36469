"""Checkpoints of a run, by Orbax: what trains, the state of the optimiser, and the progress.

A checkpoint is complete or absent: Orbax writes it under another name first. With the progress
lies a hash of every array, so one that has changed on the disk is noticed: the checkpoint before
it is taken then.
"""

import contextlib
import gc
import logging
import os
import pathlib
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from tempme_jax.training.checksums import Progress, check_arrays, check_progress, describe_progress
from tempme_jax.training.sharding import place
from tempme_jax.training.step import TrainState
from tempme_jax.training.workdir import WorkdirError

# The last two: one is left to resume from if the newest is lost.
KEEP = {"last": 2, "best": 1}
# The file by which Orbax describes a checkpoint.
DESCRIPTION = "_CHECKPOINT_METADATA"
# Seconds in which the threads of a failed restore come to their ends.
GRACE = 0.2


class CheckpointError(WorkdirError):
    """A checkpoint is damaged or incomplete."""


class Checkpoints:
    """The checkpoints of one kind in a workdir.

    Args:
        workdir: the folder of the run.
        kind: "last" or "best".
        writes: whether to save checkpoints. If not, nothing in the folder is changed, such as
            files that another process is writing.
    """

    def __init__(self, workdir: str | os.PathLike, kind: str, *, writes: bool = True):
        self.folder = pathlib.Path(workdir).absolute() / kind
        if self.folder.exists() and not self.folder.is_dir():
            raise WorkdirError(f"{self.folder} must be a folder of checkpoints; remove this file")
        self.manager = self._open_manager(KEEP[kind]) if writes else None

    def _open_manager(self, keep: int) -> ocp.CheckpointManager:
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, cleanup_tmp_directories=True, create=True
        )
        try:
            return ocp.CheckpointManager(self.folder, options=options)
        except Exception:  # Orbax could not read a file that nothing here needs
            for step in self.list_steps() if jax.process_index() == 0 else ():
                (self.folder / str(step) / DESCRIPTION).unlink(missing_ok=True)
            wait_for_processes()
            return ocp.CheckpointManager(self.folder, options=options)

    def list_steps(self) -> list[int]:
        """Return the steps of the complete checkpoints, the newest first."""
        names = [file.name for file in self.folder.glob("[0-9]*")]
        return sorted(map(int, filter(str.isdecimal, names)), reverse=True)

    def save(self, state: TrainState, progress: Progress) -> None:
        """Start to write a checkpoint; a complete one of the same step is kept instead."""
        trees = {"trainable": state.trainable, "optimizer": state.optimizer}
        assert self.manager is not None
        self.manager.wait_until_finished()
        if progress.step in self.list_steps():
            try:
                self.read(progress.step, **trees)
                return
            except CheckpointError:
                self.set_aside([progress.step])
        about = describe_progress(progress, trees)
        items: dict[str, Any] = {n: ocp.args.StandardSave(tree) for n, tree in trees.items()}
        items["progress"] = ocp.args.JsonSave(about)
        self.manager.save(progress.step, args=ocp.args.Composite(**items))

    def restore(self, like: TrainState) -> tuple[TrainState, Progress] | None:
        """Return the newest intact checkpoint, placed on devices like `like`; None without any.

        Damaged ones that are newer are set aside, unless this only reads.

        Raises:
            WorkdirError: if there are some, and none is intact.
        """
        newest = self.read_newest(trainable=like.trainable, optimizer=like.optimizer)
        if newest is None:
            return None
        arrays, progress = newest
        if self.manager:
            self.set_aside([step for step in self.list_steps() if step > progress.step])
        step = place(like.step.sharding, np.asarray(progress.step, np.int32))
        return TrainState(step, arrays["trainable"], arrays["optimizer"]), progress

    def read_newest(self, **like: Any) -> tuple[dict[str, Any], Progress] | None:
        """Return the named trees of the newest intact checkpoint, and its progress.

        A line on standard error says which damaged ones are newer.

        Args:
            **like: as for `read`.

        Returns:
            None if there is no checkpoint.

        Raises:
            WorkdirError: if there are some, and none is intact.
        """
        problems = []
        for step in self.list_steps():
            try:
                found = self.read(step, **like)
            except CheckpointError as error:
                problems.append(str(error))
                continue
            for problem in problems:
                report(f"{problem}; the one of step {step} is taken instead")
            return found
        if not problems:
            return None
        raise WorkdirError(
            f"no checkpoint in {self.folder} is intact: {'; '.join(problems)}. Restore this folder "
            "from a copy, or remove it to train again from what is left"
        )

    def read(self, step: int, **like: Any) -> tuple[dict[str, Any], Progress]:
        """Return the named trees of the checkpoint of a step, and its progress.

        Args:
            step: step of a checkpoint.
            **like: "trainable" and "optimizer", as needed: trees with the shapes, dtypes and
                shardings to restore to.

        Raises:
            CheckpointError: if it cannot be read, or is not what was saved.
        """
        items: dict[str, Any] = {
            name: ocp.args.StandardRestore(describe_arrays(tree)) for name, tree in like.items()
        }
        items["progress"] = ocp.args.JsonRestore()
        with silence_orbax():
            try:
                with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as opened:
                    args = ocp.args.Composite(**items)
                    restored = dict(opened.restore(self.folder / str(step), args=args))
                progress, hashes = check_progress(restored["progress"], step)
                for name in like if hashes is not None else ():
                    check_arrays(name, restored[name], (hashes or {}).get(name, {}))
                return restored, progress
            except Exception as error:  # Orbax raises anything where its files are damaged
                reason = (str(error) or type(error).__name__).partition("\n")[0]
            time.sleep(GRACE)
            gc.collect()
        raise CheckpointError(f"{self.folder / str(step)} is damaged ({reason:.200})")

    def set_aside(self, steps: Iterable[int]) -> None:
        """Rename damaged checkpoints, so that their steps can be saved again."""
        assert self.manager is not None
        for step in steps if jax.process_index() == 0 else ():
            name = f"damaged-{self.folder.name}-{step}"
            taken = len(list(self.folder.parent.glob(f"{name}*")))
            name += f"-{taken}" if taken else ""
            (self.folder / str(step)).rename(self.folder.parent / name)
        wait_for_processes()
        self.manager.reload()

    def wait(self) -> None:
        """Wait until everything is written."""
        if self.manager:
            self.manager.wait_until_finished()

    def close(self) -> None:
        """Wait until everything is written, and end the threads that write."""
        if self.manager:
            self.wait()
            self.manager.close()


def restore_newest(last: Checkpoints, best: Checkpoints, like: TrainState):
    """Return the state to resume from, and its progress: the last one, or else the best one.

    Returns:
        None if there is no checkpoint.

    Raises:
        WorkdirError: if there are some, and none is intact.
    """
    try:
        return last.restore(like) or best.restore(like)
    except WorkdirError as error:
        found = None
        with contextlib.suppress(WorkdirError):
            found = best.restore(like)
        if found is None:
            raise
        report(f"{error}; {best.folder} is taken instead, of step {found[1].step}")
        last.set_aside(last.list_steps())
        return found


def restore_selected(workdir: str | os.PathLike, like: dict) -> tuple[dict, Progress] | None:
    """Return the parameters trained in a workdir: of the best checkpoint, else of the last.

    If the best one is damaged, a line on standard error says what is taken instead. Its progress
    tells, too: only that of the best one has its own step as `best_step`.

    Args:
        workdir: the folder of the run.
        like: the parameters that train, with the shapes and shardings to restore to.

    Returns:
        None if there is no checkpoint.

    Raises:
        WorkdirError: if there are some, and none is intact.
    """
    problem = None
    for kind in ("best", "last"):
        with open_checkpoints(workdir, kind) as checkpoints:
            try:
                newest = checkpoints and checkpoints.read_newest(trainable=like)
            except WorkdirError as error:
                problem = problem or error
                continue
            if newest and problem:
                assert checkpoints
                with contextlib.suppress(CheckpointError):  # the best one may be among the last
                    newest = checkpoints.read(newest[1].best_step, trainable=like)
                report(f"{problem}; {checkpoints.folder / str(newest[1].step)} is taken instead")
        if newest:
            return newest[0]["trainable"], newest[1]
    if problem:
        raise problem
    return None


def read_progress(workdir: str | os.PathLike) -> Progress:
    """Return the progress of the training in a workdir, from its newest intact checkpoint."""
    newest = Progress()
    for kind in ("last", "best"):
        with open_checkpoints(workdir, kind) as checkpoints, contextlib.suppress(WorkdirError):
            found = checkpoints and checkpoints.read_newest()
            if found and found[1].step > newest.step:
                newest = found[1]
    return newest


def wait_for_processes() -> None:
    """Wait until all processes are here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("checkpoints are renamed")


@contextlib.contextmanager
def silence_orbax() -> Iterator[None]:
    """Keep off the screen what the threads of Orbax print about damaged files."""
    logger, hooks = logging.getLogger("asyncio"), (sys.excepthook, sys.unraisablehook)
    was_disabled = logger.disabled
    logger.disabled = True
    sys.excepthook = sys.unraisablehook = lambda *_: None
    try:
        yield
    finally:
        logger.disabled, (sys.excepthook, sys.unraisablehook) = was_disabled, hooks


def report(text: str) -> None:
    """Print a line on standard error, once for all processes."""
    if jax.process_index() == 0:
        print(text, file=sys.stderr)


@contextlib.contextmanager
def open_checkpoints(workdir: str | os.PathLike, kind: str) -> Iterator[Checkpoints | None]:
    """Open the checkpoints of one kind for reading; None if there were never any."""
    if not (pathlib.Path(workdir) / kind).exists():
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
