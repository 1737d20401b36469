"""Training: the loop from a state to the last one, with what it reports and saves on its way."""

import contextlib
import dataclasses
import math
import pathlib
import signal
import time
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import multihost_utils

from tempme_jax.training.batches import TrainingBatches, batches
from tempme_jax.training.checkpoint import Checkpoints, Progress
from tempme_jax.training.config import Config
from tempme_jax.training.log import Log
from tempme_jax.training.sharding import place_batch
from tempme_jax.training.step import Batch, Objective, TrainState, train_step

# The steps of a profiler trace begin here: by then everything is compiled.
PROFILE_FROM = 10


class TrainingError(RuntimeError):
    """Training that cannot go on."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a training consists of.

    Attributes:
        config: its settings.
        mesh: of the devices.
        objective: whose loss is made small.
        optimizer: how.
        augment: what is done to a batch before.
        rate: the learning rate of every step.
        frozen: the parameters that do not train, on the devices.
        source: the batches; its length says how many steps there are.
        evaluate: the R-Sum of a state on the split that selects; None where the last is kept.
        last, best: where checkpoints go.
        folder: the workdir.
    """

    config: Config
    mesh: jax.sharding.Mesh
    objective: Objective
    optimizer: optax.GradientTransformation
    augment: Callable[[Batch], Batch]
    rate: optax.Schedule
    frozen: dict
    source: TrainingBatches
    evaluate: Callable[[TrainState], dict[str, float]] | None
    last: Checkpoints
    best: Checkpoints
    folder: pathlib.Path


def train(
    plan: Plan, state: TrainState, progress: Progress, log: Log
) -> tuple[TrainState, Progress, bool]:
    """Trains to the last step, or until the process is asked to stop.

    Args:
        plan: what to do.
        state: where to begin, on the devices.
        progress: what is known of that state.
        log: where to report.

    Returns:
        The last state, what is known of it, and whether training is complete.

    Raises:
        TrainingError: if the loss is not a number; nothing of that state is saved.
    """
    settings, steps = plan.config.train, plan.source.steps
    meter = Meter(plan, log, progress)
    if progress.step < steps:
        log.say("compiling the first step ...")
    reader = reading(plan, progress.step)
    with stop_signal() as stopped, reader as rows, profiler(plan) as trace:
        for step in range(progress.step + 1, steps + 1):
            trace(step - progress.step)
            batch = place_batch(plan.mesh, meter.wait(rows))
            state, measured = train_step(
                plan.objective, plan.optimizer, plan.augment, state, plan.frozen, batch
            )
            meter.made(step, measured)
            stop = stopped(step)
            evaluates = plan.evaluate is not None and due(step, settings.evaluate_every, steps)
            if evaluates or stop or due(step, settings.checkpoint_every, steps):
                meter.keep(step, state, evaluates)
            if stop and step < steps:
                log.say(f"stopped after step {step} of {steps}, which is saved")
                return state, meter.progress(step), False
    return state, meter.progress(steps), True


class Meter:
    """Measures a training: every step's loss, speed, and time spent waiting for data."""

    def __init__(self, plan: Plan, log: Log, progress: Progress):
        self.plan, self.log, self.known = plan, log, progress
        self.begun = time.monotonic()
        self.pending: list[tuple[int, dict[str, jax.Array]]] = []
        self.since, self.waited, self.seen = time.monotonic(), 0.0, 0

    def wait(self, reader: Iterator[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """The next batch."""
        started = time.monotonic()
        rows = next(reader)
        self.waited += time.monotonic() - started
        return rows

    def made(self, step: int, measured: dict[str, jax.Array]) -> None:
        """Notes a step; its numbers are read when the next one is under way."""
        self.pending.append((step, measured))
        while len(self.pending) > 1:
            self.read()

    def settle(self) -> None:
        """Reads the numbers of all steps."""
        while self.pending:
            self.read()

    def read(self) -> None:
        """Reports the oldest step whose numbers were not read yet."""
        step, measured = self.pending.pop(0)
        loss, norm = float(measured["loss"]), float(measured["gradient_norm"])
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise diverged(step, f"the loss is {loss}, the norm of the gradients {norm}")
        self.seen += 1
        rate = float(self.plan.rate(step - 1))
        values = {"loss": loss, "gradient_norm": norm, "learning_rate": rate}
        first = step == self.known.step + 1
        if first or due(step, self.plan.config.train.log_every, self.plan.source.steps):
            # The first step had to be compiled: its speed says nothing.
            values |= {} if first else self.speed()
            self.log.progress(step, values)
            self.since, self.waited, self.seen = time.monotonic(), 0.0, 0
        self.log.write(step, "train", values)

    def speed(self) -> dict[str, float]:
        """Since the last report: videos a second, and the share of the time that data took."""
        taken = max(time.monotonic() - self.since, 1e-9)
        videos = self.seen * self.plan.config.train.batch_size
        return {"videos_per_second": videos / taken, "waited": self.waited / taken}

    def keep(self, step: int, state: TrainState, evaluates: bool) -> None:
        """Saves a state, after it was found sound, and perhaps evaluated."""
        self.settle()
        check_finite(step, state)
        if evaluates:
            self.judge(step, state)
        self.plan.last.save(state, self.progress(step))

    def judge(self, step: int, state: TrainState) -> None:
        """Evaluates a state, and keeps it if it is the best so far."""
        started = time.monotonic()
        measured = self.plan.evaluate(state)
        self.log.write(step, self.plan.config.evaluate.select_on, measured)
        best = self.known.best is None or measured["R-Sum"] > self.known.best
        if best:
            self.known = dataclasses.replace(self.known, best=measured["R-Sum"], best_step=step)
            self.plan.best.save(state, self.progress(step))
            # Before the newest checkpoint says that there is this one.
            self.plan.best.wait()
        self.log.say(
            f"step {step}: {self.plan.config.evaluate.select_on} R@1 {measured['R@1']:.1f}, "
            f"R-Sum {measured['R-Sum']:.1f}{', the best so far' if best else ''}"
        )
        self.since += time.monotonic() - started

    def progress(self, step: int) -> Progress:
        """Where the run is."""
        seconds = self.known.seconds + time.monotonic() - self.begun
        return dataclasses.replace(self.known, step=step, seconds=seconds)


def check_finite(step: int, state: TrainState) -> None:
    """Raises a TrainingError for parameters that are not numbers, before they are saved."""
    if not all_finite(state.trainable):
        raise diverged(step, "not all parameters are finite numbers after it")


@jax.jit
def all_finite(tree: dict) -> jax.Array:
    """Whether no array holds NaN or infinity."""
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]).all()


def diverged(step: int, problem: str) -> TrainingError:
    """The error of a training that has left the numbers."""
    return TrainingError(
        f"step {step}: {problem}. The checkpoints before it are kept; try a smaller "
        "train.learning_rate, a longer train.warmup, or model.dtype='float32'"
    )


def due(step: int, every: int, steps: int) -> bool:
    """Whether something that is done every so often is to be done after a step."""
    return step == steps or (every > 0 and step % every == 0)


def reading(plan: Plan, first: int):
    """The batches from a step on."""
    return batches(
        plan.source,
        plan.config.train.batch_size,
        first=first,
        workers=plan.config.data.workers,
        process=jax.process_index(),
        processes=jax.process_count(),
    )


@contextlib.contextmanager
def stop_signal() -> Iterator[Callable[[int], bool]]:
    """Whether the process was asked to end (SIGTERM), asked after every step.

    Of many processes, where JAX itself listens for the signal, all stop after the same step.
    """
    if jax.process_count() > 1:
        yield multihost_utils.reached_preemption_sync_point
        return
    asked = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
    try:
        yield lambda step: bool(asked)
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def profiler(plan: Plan) -> Iterator[Callable[[int], None]]:
    """Traces the steps that the settings name; is told which one comes next, counted from 1."""
    first, last = PROFILE_FROM, PROFILE_FROM + plan.config.profile - 1
    tracing = False

    def coming(number: int) -> None:
        nonlocal tracing
        if tracing and number > last:
            jax.profiler.stop_trace()
            tracing = False
        elif number == first <= last:
            jax.profiler.start_trace(str(plan.folder))
            tracing = True

    try:
        yield coming
    finally:
        if tracing:
            jax.profiler.stop_trace()
