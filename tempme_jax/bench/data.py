"""How fast training batches are read, and how long the device waits for them."""

import time

import jax
import numpy as np

from tempme_jax.bench.encode import DataSpeed
from tempme_jax.parameters import split
from tempme_jax.training.batches import batches
from tempme_jax.training.config import Config
from tempme_jax.training.model import build_model
from tempme_jax.training.optim import learning_rate
from tempme_jax.training.run import objective_of, optimizer_of, training_batches
from tempme_jax.training.sharding import make_mesh, place, place_batch, place_params, replicated
from tempme_jax.training.splits import prepare
from tempme_jax.training.step import TrainState, train_step, unchanged


def measure(config: Config, steps: int) -> DataSpeed:
    """Reads so many batches, alone, then so many while training steps run.

    Raises:
        ValueError: if there are not so many.
    """
    prepare(config.data)
    model = build_model(config.model, config.seed)
    source = training_batches(config, model)
    if source.steps < steps + 1:
        raise ValueError(f"the training has {source.steps} steps; choose fewer than those")
    size, workers = config.train.batch_size, config.data.workers
    started = time.monotonic()
    with batches(source, size, workers=workers) as reader:
        next(reader)
        first = time.monotonic()
        for _ in range(steps):
            next(reader)
        read = time.monotonic() - first
    trained, waited = with_device(config, model, source, steps)
    return DataSpeed(
        size, workers, steps, first - started, steps * size / read, steps * size / trained,
        waited / trained,
    )  # fmt: skip


def with_device(config: Config, model, source, steps: int) -> tuple[float, float]:
    """Seconds of so many training steps, and those spent waiting for data."""
    mesh = make_mesh(config.mesh.data, config.mesh.model)
    trainable, frozen = split(model.network, model.params)
    trainable = place_params(mesh, trainable, split=False)
    frozen = place_params(mesh, frozen, split=True)
    optimizer = optimizer_of(config, learning_rate(1e-9, source.steps, 0.0))
    state = TrainState(place(replicated(mesh), np.int32(0)), trainable, optimizer.init(trainable))
    objective, waited, begun = objective_of(config, model.network), 0.0, 0.0
    with batches(source, config.train.batch_size, workers=config.data.workers) as reader:
        for step in range(steps + 1):
            started = time.monotonic()
            rows = next(reader)
            waited += time.monotonic() - started
            state, _ = train_step(
                objective, optimizer, unchanged, state, frozen, place_batch(mesh, rows)
            )
            jax.block_until_ready(state)
            if step == 0:  # which compiles
                begun, waited = time.monotonic(), 0.0
    return time.monotonic() - begun, waited
