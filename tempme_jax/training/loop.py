"""The training loop: makes the steps, reports, evaluates and saves."""

import contextlib
import dataclasses
import math
import pathlib
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import multihost_utils

from tempme_jax.screen import show_work
from tempme_jax.training.batches import TrainingRows, read_batches
from tempme_jax.training.checkpoint import Checkpoints, Progress, restore_newest
from tempme_jax.training.config import Config
from tempme_jax.training.log import Log
from tempme_jax.training.objectives.base import Batch
from tempme_jax.training.sharding import place_batch
from tempme_jax.training.step import TrainState
from tempme_jax.training.tracking import Tracker

# A profiler trace begins with this step of an attempt: by then everything is compiled.
PROFILE_FROM = 10


class TrainingError(RuntimeError):
    """Training cannot continue."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """The settings and functions that the training loop works with.

    Attributes:
        config: the settings of the run.
        folder: the workdir.
        mesh: the mesh of all devices.
        source: the rows of all batches; `source.steps` is the number of steps.
        step: makes one step; returns the next state, the loss and the norm of the gradients.
        rate: the learning rate of every step, counted from 0.
        evaluate: measures a state on the split that selects, and names the measure that is largest
            for the best one; None to keep no best checkpoint.
        reports: whether this process writes the log.
        tracker: takes what the log holds, too.
    """

    config: Config
    folder: pathlib.Path
    mesh: jax.sharding.Mesh
    source: TrainingRows
    step: Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]
    rate: optax.Schedule
    evaluate: Callable[[TrainState], tuple[dict[str, Any], str]] | None
    reports: bool = True
    tracker: Tracker | None = None


def train(plan: Plan, state: TrainState) -> tuple[TrainState, Progress, bool]:
    """Train to the last step, or until the process is asked to stop.

    Args:
        plan: what to do.
        state: the initial state, on the devices; the newest checkpoint replaces it.

    Returns:
        The last state, its progress, and whether training is complete.

    Raises:
        TrainingError: if the loss is NaN or infinite; that state is not saved.
    """
    steps = plan.source.steps
    with (
        contextlib.closing(Checkpoints(plan.folder, "last")) as last,
        contextlib.closing(Checkpoints(plan.folder, "best")) as best,
    ):
        state, progress = restore_newest(last, best, state) or (state, Progress())
        log = Log(
            plan.folder, step=progress.step, steps=steps, writes=plan.reports, tracker=plan.tracker
        )
        with contextlib.closing(log):
            if progress.step == steps:
                log.say(f"already finished: all {steps} steps were made; it is measured again")
            elif progress.step:
                log.say(f"resuming after step {progress.step} of {steps}")
            return make_steps(plan, state, Meter(plan, log, progress, last, best))


def make_steps(plan: Plan, state: TrainState, meter: "Meter") -> tuple[TrainState, Progress, bool]:
    """Make all steps that are left; arguments and result as for `train`."""
    settings, steps, done = plan.config.train, plan.source.steps, meter.start.step
    reader = read_batches(
        plan.source,
        settings.batch_size,
        first=done,
        workers=plan.config.data.workers,
        process=jax.process_index(),
        processes=jax.process_count(),
    )
    with watch_for_stop() as must_stop, reader as rows, trace_steps(plan) as trace:
        for step in range(done + 1, steps + 1):
            trace(step - done)
            quiet = step > done + 1 or not plan.reports
            with show_work("Reading the first batch, and compiling the first step", quiet=quiet):
                batch = place_batch(plan.mesh, meter.read_batch(rows))
                state, measured = plan.step(state, batch)
            meter.record(step, measured)
            stop = must_stop(step)
            evaluates = plan.evaluate is not None and is_due(step, settings.evaluate_every, steps)
            if evaluates or stop or is_due(step, settings.checkpoint_every, steps):
                meter.save(step, state, evaluates)
            if stop and step < steps:
                meter.log.say(f"stopped after step {step} of {steps}, which is saved")
                return state, meter.make_progress(step), False
    return state, meter.make_progress(steps), True


class Meter:
    """Measures and saves a training: losses, speed, time spent waiting for data, the best state.

    Args:
        plan: what is trained.
        log: the log to report to.
        start: the progress of the state that this attempt begins with.
        last, best: checkpoints to write.
    """

    def __init__(self, plan: Plan, log: Log, start: Progress, last: Checkpoints, best: Checkpoints):
        self.plan, self.log, self.start, self.last, self.best = plan, log, start, last, best
        self.best_value, self.best_step = start.best, start.best_step
        self.start_time = self.report_time = time.monotonic()
        self.pending: list[tuple[int, dict[str, jax.Array]]] = []
        self.waiting, self.steps_since = 0.0, 0

    def read_batch(self, reader: Iterator[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """Return the next batch, and count the time that it takes to arrive."""
        started = time.monotonic()
        rows = next(reader)
        self.waiting += time.monotonic() - started
        return rows

    def record(self, step: int, measured: dict[str, jax.Array]) -> None:
        """Note a step; its numbers are read while the next one runs."""
        self.pending.append((step, measured))
        while len(self.pending) > 1:
            self.report_oldest()

    def report_oldest(self) -> None:
        """Report the oldest step whose numbers were not read yet."""
        step, measured = self.pending.pop(0)
        loss, norm = float(measured["loss"]), float(measured["gradient_norm"])
        if not (math.isfinite(loss) and math.isfinite(norm)):
            problem = f"the loss is {loss}, the norm of the gradients {norm}"
            raise TrainingError(describe_divergence(step, problem))
        self.steps_since += 1
        rate = float(np.asarray(self.plan.rate(step - 1)))
        values = {"loss": loss, "gradient_norm": norm, "learning_rate": rate}
        first = step == self.start.step + 1
        if first or is_due(step, self.plan.config.train.log_every, self.plan.source.steps):
            # The first step includes compilation: its speed would mislead.
            values |= {} if first else self.measure_speed()
            self.log.show_progress(step, values)
            self.report_time, self.waiting, self.steps_since = time.monotonic(), 0.0, 0
        self.log.write(step, "train", values)

    def measure_speed(self) -> dict[str, float]:
        """Return videos per second since the last report, and the share of time spent waiting."""
        taken = max(time.monotonic() - self.report_time, 1e-9)
        videos = self.steps_since * self.plan.config.train.batch_size
        return {"videos_per_second": videos / taken, "waited": self.waiting / taken}

    def save(self, step: int, state: TrainState, evaluates: bool) -> None:
        """Save a state after checking that it is finite, and evaluate it if asked to."""
        while self.pending:
            self.report_oldest()
        if not are_finite(state.trainable):
            problem = "not all parameters are finite numbers after it"
            raise TrainingError(describe_divergence(step, problem))
        if evaluates:
            self.evaluate(step, state)
        self.last.save(state, self.make_progress(step))

    def evaluate(self, step: int, state: TrainState) -> None:
        """Evaluate a state, and save it if it is the best so far."""
        assert self.plan.evaluate is not None
        started = time.monotonic()
        measured, selects = self.plan.evaluate(state)
        self.log.write(step, self.plan.config.evaluate.select_on, measured)
        is_best = self.best_value is None or measured[selects] > self.best_value
        if is_best:
            self.best_value, self.best_step = measured[selects], step
            self.best.save(state, self.make_progress(step))
            # It must be complete before the newest checkpoint names it.
            self.best.wait()
        names = dict.fromkeys([next(iter(measured)), selects])
        values = ", ".join(f"{name} {measured[name]:.1f}" for name in names)
        self.log.say(
            f"step {step}: {self.plan.config.evaluate.select_on} {values}"
            f"{', the best so far' if is_best else ''}"
        )
        self.report_time += time.monotonic() - started

    def make_progress(self, step: int) -> Progress:
        """Return the progress of the state after a step."""
        seconds = self.start.seconds + time.monotonic() - self.start_time
        return Progress(step, seconds, self.best_value, self.best_step)


@jax.jit
def are_finite(tree: dict) -> jax.Array:
    """Return whether no array holds NaN or infinity."""
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]).all()


def describe_divergence(step: int, problem: str) -> str:
    """Return the words of the error for a training that has diverged."""
    return (
        f"step {step}: {problem}. The checkpoints before it are kept; try a smaller "
        "train.learning_rate, a longer train.warmup, or model.dtype='float32'"
    )


def is_due(step: int, every: int, steps: int) -> bool:
    """Return whether something done `every` so many steps, and at the end, is due after a step."""
    return step == steps or (every > 0 and step % every == 0)


@contextlib.contextmanager
def watch_for_stop() -> Iterator[Callable[[int], bool]]:
    """Yield a function that tells after every step whether the process was asked to end (SIGTERM).

    If there are many processes, JAX listens for the signal, and all stop after the same step.
    """
    if jax.process_count() > 1:
        yield multihost_utils.reached_preemption_sync_point
        return
    signals = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: signals.append(number))
    try:
        yield lambda step: bool(signals)
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def trace_steps(plan: Plan) -> Iterator[Callable[[int], None]]:
    """Write a profiler trace of the steps that the settings ask for.

    Yields:
        A function to call before every step with its number, counted from 1 in this attempt.
    """
    first, last = PROFILE_FROM, PROFILE_FROM + plan.config.profile - 1
    tracing = False

    def announce(number: int) -> None:
        nonlocal tracing
        if tracing and number > last:
            jax.profiler.stop_trace()
            tracing = False
        elif number == first <= last:
            jax.profiler.start_trace(str(plan.folder))
            tracing = True

    try:
        yield announce
    finally:
        if tracing:
            jax.profiler.stop_trace()
