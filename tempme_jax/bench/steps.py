"""Make training steps on drawn batches when asked to: the process that `bench.train` measures.

    python steps.py CHECKOUT --config=configs/moving_shapes.py:tempme [SETTINGS]

It imports the package that lies in the folder CHECKOUT, so an earlier version can be measured, too.
A line with a number on its standard input asks for so many steps; a line of JSON answers.
"""

import contextlib
import functools
import json
import os
import pathlib
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

# Batches that are drawn; the steps take them in turn.
BATCHES = 4


def draw_batch(config: Any, model: Any, number: int) -> dict[str, np.ndarray]:
    """Draw noise as frames, and texts of random words; the last id ends each text."""
    b, frames, side = config.train.batch_size, model.num_frames, config.data.size
    rng, words = np.random.default_rng(number), model.max_words
    last = model.arch.vocab_size - 1
    length = rng.integers(3, words + 1, b)
    mask = np.arange(words) < length[:, None]
    ids = np.where(mask, rng.integers(1, last, (b, words)), 0)
    ids[np.arange(b), length - 1] = last
    return {
        "frames": rng.integers(0, 256, (b, frames, side, side, 3), np.uint8),
        "frame_mask": np.ones((b, frames), bool),
        "ids": ids.astype(np.int32),
        "text_mask": mask,
        "video": np.arange(b, dtype=np.int32),
        "place": np.arange(number * b, (number + 1) * b, dtype=np.int32),
    }


def tell_dial(train: Any) -> None:
    """Say on standard error that steps are measured without the dial, if the training turns it."""
    if getattr(train, "dial", "off") != "off":  # earlier versions have none
        print(
            f"train.dial={train.dial!r} is not measured: every step merges as the method's options "
            "say; `tempme bench dial` measures a model at other settings",
            file=sys.stderr,
            flush=True,
        )


def prepare(settings: list[str]) -> Callable[[], float]:
    """Return a function that makes a step of a training and returns its loss."""
    import jax

    from tempme_jax.parameters import split
    from tempme_jax.training import model as models
    from tempme_jax.training import sharding, step
    from tempme_jax.training.flags import parse_flags
    from tempme_jax.training.optim import make_learning_rate, make_optimizer
    from tempme_jax.training.run import assign_rates
    from tempme_jax.training.tasks import choose_task

    config = parse_flags(settings)
    train, mesh = config.train, sharding.make_mesh(config.mesh.data, config.mesh.model)
    if pathlib.Path(sys.path[0]) == pathlib.Path(__file__).parents[2]:  # one of two versions
        tell_dial(train)
    model = models.build_model(config.model, config.seed)
    if hasattr(models, "set_pooling"):  # earlier versions have none
        model = models.set_pooling(model, train)
    network = model.network.copy(drop_path=train.drop_path, dropout=train.dropout)
    trainable, frozen = split(network, model.params)
    trainable = sharding.place_params(mesh, trainable, split=False)
    frozen = sharding.place_params(mesh, frozen, split=True)
    rates = assign_rates(network.adapter, trainable)
    optimizer = make_optimizer(train, make_learning_rate(train, train.steps or 1000), rates)
    whole = sharding.replicate(mesh)
    initial = jax.jit(optimizer.init, out_shardings=whole)(trainable)
    state = step.TrainState(sharding.place(whole, np.int32(0)), trainable, initial)
    objective = choose_task(network).objective.make(network, train, config.seed)
    augment = step.leave_unchanged
    if train.augmentation != "none":
        augment = step.Augmentation(mesh, config.seed, train.augmentation)
    if hasattr(step, "CompiledSteps"):
        make = functools.partial(step.CompiledSteps(optimizer, augment, frozen).make, objective)
    else:  # an earlier version
        step_of_all = functools.partial(step.train_step, objective, optimizer, augment)
        make = lambda state, batch: step_of_all(state, frozen, batch)  # noqa: E731
    batches = [draw_batch(config, model, number) for number in range(BATCHES)]
    made = 0

    def make_step() -> float:
        nonlocal state, made
        batch = sharding.place_batch(mesh, batches[made % BATCHES])
        state, measured = make(state, batch)
        made += 1
        return float(jax.block_until_ready((state, measured))[1]["loss"])

    return make_step


def measure_peak() -> int:
    """Return the most bytes that this process has held so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main() -> None:
    """Answer every number on the standard input."""
    folder, *settings = sys.argv[1:]
    sys.path[0] = folder
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else is printed is no answer
    with contextlib.suppress(ImportError):  # earlier versions have none
        from tempme_jax.heap import share_one_heap

        share_one_heap()  # as a training does
    make_step = prepare(settings)
    for line in sys.stdin:
        seconds, cpu_seconds, losses = [], [], []
        for _ in range(int(line)):
            started, used = time.perf_counter(), time.process_time()
            losses.append(make_step())
            seconds.append(time.perf_counter() - started)
            cpu_seconds.append(time.process_time() - used)
        answer = {
            "seconds": seconds, "cpu_seconds": cpu_seconds, "losses": losses,
            "peak": measure_peak(),
        }  # fmt: skip
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
