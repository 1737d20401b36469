"""Speed of reading training batches, and the time that the device waits for them."""

import dataclasses
import time

import jax

from tempme_jax.bench.steps import tell_dial
from tempme_jax.parameters import split
from tempme_jax.training.batches import read_batches
from tempme_jax.training.config import Config
from tempme_jax.training.model import build_model, set_pooling
from tempme_jax.training.optim import make_learning_rate, make_optimizer
from tempme_jax.training.sharding import make_mesh, place_batch, place_params
from tempme_jax.training.splits import prepare_data
from tempme_jax.training.step import CompiledSteps, leave_unchanged, make_state
from tempme_jax.training.tasks import choose_task


@dataclasses.dataclass(frozen=True)
class DataSpeed:
    """Speed of reading training batches.

    Attributes:
        batch_size: videos in a batch.
        workers: number of processes that read; 0 for threads.
        steps: number of batches that were measured.
        first_seconds: seconds until the first batch was ready.
        read_videos_per_second: speed of reading without training, after the first batch.
        train_videos_per_second: speed of training.
        waited: share of the training time in which the device waited for data.
    """

    batch_size: int
    workers: int
    steps: int
    first_seconds: float
    read_videos_per_second: float
    train_videos_per_second: float
    waited: float


def measure_reading(config: Config, steps: int) -> DataSpeed:
    """Read `steps` batches without training, then as many while training steps run.

    Raises:
        ValueError: if the training has no more than `steps` steps.
    """
    tell_dial(config.train)
    prepare_data(config.data)
    model = set_pooling(build_model(config.model, config.seed), config.train)
    source = choose_task(model.network).open_rows(config, model)
    if source.steps < steps + 1:
        raise ValueError(f"steps={steps}: the training has {source.steps} steps; choose fewer")
    size, workers = config.train.batch_size, config.data.workers
    started = time.monotonic()
    with read_batches(source, size, workers=workers) as reader:
        next(reader)
        first = time.monotonic()
        for _ in range(steps):
            next(reader)
        read = time.monotonic() - first
    trained, waited = time_training(config, model, source, steps)
    return DataSpeed(
        size, workers, steps, first - started, steps * size / read, steps * size / trained,
        waited / trained,
    )  # fmt: skip


def time_training(config: Config, model, source, steps: int) -> tuple[float, float]:
    """Return the seconds of `steps` training steps, and those spent waiting for data."""
    mesh = make_mesh(config.mesh.data, config.mesh.model)
    trainable, frozen = split(model.network, model.params)
    trainable = place_params(mesh, trainable, split=False)
    frozen = place_params(mesh, frozen, split=True)
    settings = dataclasses.replace(config.train, learning_rate=1e-9, warmup=0.0)
    optimizer = make_optimizer(settings, make_learning_rate(settings, source.steps))
    state = make_state(trainable, optimizer, mesh)
    compiled = CompiledSteps(optimizer, leave_unchanged, frozen)
    objective = choose_task(model.network).objective.make(model.network, settings, config.seed)
    waited, begun = 0.0, 0.0
    with read_batches(source, config.train.batch_size, workers=config.data.workers) as reader:
        for step in range(steps + 1):
            started = time.monotonic()
            rows = next(reader)
            waited += time.monotonic() - started
            state, _ = compiled.make(objective, state, place_batch(mesh, rows))
            jax.block_until_ready(state)
            if step == 0:  # the first step compiles
                begun, waited = time.monotonic(), 0.0
    return time.monotonic() - begun, waited
