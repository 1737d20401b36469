"""A run, from its settings to its results: data, model, training, evaluation."""

import contextlib
import dataclasses
import os
import pathlib
import resource
import sys
from collections.abc import Callable
from typing import Any

import flax.traverse_util
import jax
import numpy as np
import optax
from jax.sharding import Mesh

from tempme_jax import costs
from tempme_jax.adapters.base import Adapter
from tempme_jax.datasets.prepared import Prepared
from tempme_jax.model import Model
from tempme_jax.networks.clip import Clip
from tempme_jax.parameters import join, split
from tempme_jax.training import printing, results
from tempme_jax.training.batches import Reading, TrainingBatches
from tempme_jax.training.checkpoint import Checkpoints, Progress, reached, selected
from tempme_jax.training.config import Config
from tempme_jax.training.evaluate import evaluate_split
from tempme_jax.training.log import Log
from tempme_jax.training.loop import Plan, train
from tempme_jax.training.model import build_model
from tempme_jax.training.optim import learning_rate, optimizer
from tempme_jax.training.order import Order, pairs_of
from tempme_jax.training.sharding import check_divides, make_mesh, place, place_params, replicated
from tempme_jax.training.splits import make_builder, open_split, prepare
from tempme_jax.training.step import Objective, RandAugment, TrainState, unchanged
from tempme_jax.training.workdir import open_workdir

AUGMENT = {"none": lambda mesh, seed: unchanged, "randaugment": RandAugment}


@dataclasses.dataclass(frozen=True)
class Run:
    """What training and evaluation share.

    Attributes:
        config: the settings.
        folder: the workdir.
        mesh: of the devices.
        model: as training begins with it.
        frozen: its parameters that do not train, on the devices.
    """

    config: Config
    folder: pathlib.Path
    mesh: Mesh
    model: Model
    frozen: dict


def run(
    config: Config, workdir: str | os.PathLike, *, evaluate_only: bool = False
) -> dict[str, Any] | None:
    """Prepares the data, trains, evaluates the best checkpoint, and writes results.json.

    What was prepared and trained before is not done again.

    Args:
        config: the settings.
        workdir: the folder of the run.
        evaluate_only: whether to evaluate what was trained so far (or nothing), and not to train.

    Returns:
        What results.json holds; None if training was asked to stop before its end.

    Raises:
        ValueError: for settings that do not fit the data or the devices; it says what does.
        PreparationError, WorkdirError, TrainingError: see there.
    """
    mesh = make_mesh(config.mesh.data, config.mesh.model)
    check_divides("train.batch_size", config.train.batch_size, mesh)
    check_divides("train.gradient_cache", config.train.gradient_cache, mesh)
    folder = open_workdir(workdir, config)
    prepare(config.data)
    model = build_model(config.model, config.seed)
    trainable, frozen = split(model.network, model.params)
    if main_process():
        printing.print_parameters(model, trainable)
    this = Run(config, folder, mesh, model, place_params(mesh, frozen, split=True))
    trainable = place_params(mesh, trainable, split=False)
    if trainable and not evaluate_only and not fit(this, trainable):
        return None
    return final(this, *(selected(folder, trainable) or (trainable, Progress())))


def main_process() -> bool:
    """Whether this process is the one that writes and reports."""
    return jax.process_index() == 0


def fit(this: Run, trainable: dict) -> bool:
    """Trains, from the newest checkpoint on; whether it came to its end."""
    settings, source = this.config.train, training_batches(this.config, this.model)
    rate = rate_of(this.config, source.steps)
    update = optimizer_of(this.config, rate, rates_of(this.model.network.adapter, trainable))
    whole = replicated(this.mesh)
    initial = jax.jit(update.init, out_shardings=whole)(trainable)
    state = TrainState(place(whole, np.int32(0)), trainable, initial)
    with (
        contextlib.closing(Checkpoints(this.folder, "last")) as last,
        contextlib.closing(Checkpoints(this.folder, "best")) as best,
    ):
        state, progress = last.restore(state) or (state, Progress())
        plan = Plan(
            config=this.config, mesh=this.mesh,
            objective=objective_of(this.config, this.model.network), optimizer=update,
            augment=AUGMENT[settings.augmentation](this.mesh, this.config.seed),
            rate=rate, frozen=this.frozen, source=source,
            evaluate=selection(this), last=last, best=best, folder=this.folder,
        )  # fmt: skip
        log = Log(this.folder, step=progress.step, steps=source.steps, writes=main_process())
        with contextlib.closing(log):
            if progress.step:
                log.say(f"going on after step {progress.step} of {source.steps}")
            _, _, complete = train(plan, state, progress, log)
    return complete


def training_batches(config: Config, model: Model) -> TrainingBatches:
    """Every row of the training, in its order."""
    settings = config.train
    prepared = open_split(config.data, config.data.train)
    order = Order(
        pairs_of(prepared.captions, prepared.groups),
        batch_size=settings.batch_size, kind=settings.batches, seed=config.seed,
    )  # fmt: skip
    reading = Reading(prepared, model.num_frames, settings.frame_sampling, config.seed)
    steps = settings.steps or settings.epochs * order.steps_of_epoch
    return TrainingBatches(order, reading, model.tokenizer, steps)


def objective_of(config: Config, network: Clip) -> Objective:
    """What the training of a model makes small."""
    return Objective(network, config.train.gradient_cache, config.train.temperature)


def rate_of(config: Config, steps: int) -> optax.Schedule:
    """The learning rate of every step."""
    t = config.train
    return learning_rate(
        t.learning_rate, steps, t.warmup, schedule=t.schedule, final_rate=t.final_rate
    )


def optimizer_of(
    config: Config, rate: optax.Schedule, rates: dict | None = None
) -> optax.GradientTransformation:
    """AdamW as published, with the settings of the run."""
    t = config.train
    return optimizer(
        rate, b1=t.b1, b2=t.b2, eps=t.eps, weight_decay=t.weight_decay,
        clip_norm=t.clip_norm or None, decay_biases=t.decay_biases, rates=rates,
    )  # fmt: skip


def rates_of(adapter: Adapter, trainable: dict) -> dict:
    """The learning rate of every parameter that trains, in units of the recipe's."""
    return flax.traverse_util.path_aware_map(lambda path, _: adapter.rate(path), trainable)


def selection(this: Run) -> Callable[[TrainState], dict[str, float]] | None:
    """What measures a state, to select the best; None if the last is taken."""
    data, settings = this.config.data, this.config.evaluate
    if settings.select_on == "last":
        return None
    prepared = open_split(data, getattr(data, settings.select_on))
    plain = dataclasses.replace(settings, dual_softmax=False, qb_norm=False)
    config = dataclasses.replace(this.config, evaluate=plain)

    def measure(state: TrainState) -> dict[str, float]:
        params = join(state.trainable, this.frozen)
        return evaluate_split(this.model, params, prepared, config, this.mesh)["text_to_video"]

    return measure


def final(this: Run, trainable: dict, progress: Progress) -> dict[str, Any]:
    """Evaluates on the test split; writes and prints the results."""
    data, settings = this.config.data, this.config.evaluate
    prepared = open_split(data, data.test)
    measured = evaluate_split(
        this.model, join(trainable, this.frozen), prepared, this.config, this.mesh,
        intervals=True, bank=open_split(data, data.train) if settings.qb_norm else None,
    )  # fmt: skip
    measured["protocol"]["selected_on"] = settings.select_on
    found = {**measured, **described(this.config, prepared), **spent(this), "step": progress.step}
    found["found"] = this.model.reducer.found(join(trainable, this.frozen))
    if main_process():
        results.write_results(this.folder / results.NAME, found)
        printing.print_results([found])
        printing.print_found_rates(found["found"])
    return found


def described(config: Config, prepared: Prepared) -> dict[str, Any]:
    """Of what a run measures: the split, how much of it there is, and the settings."""
    texts = sum(map(len, prepared.captions))
    return {
        "dataset": config.data.name,
        "variant": make_builder(config.data).builder_config.variant,
        "split": config.data.test,
        "pairs": texts,
        "texts": texts,
        "videos": len(prepared),
        "id_hash": prepared.id_hash,
        "complete": len(prepared) == prepared.expected,
        "expected": prepared.expected,
        "method": config.model.method,
        "seed": config.seed,
        "config": config.as_json(),
    }


def spent(this: Run) -> dict[str, Any]:
    """What a video costs, and what the training so far has taken."""
    cost = costs.count(this.model.network, this.model.num_frames)
    training = reached(this.folder)
    return {
        "costs": {name: getattr(cost, name) for name in results.PARTS["costs"]},
        "training": {
            "seconds": training.seconds,
            "steps": training.step,
            "peak_memory_bytes": peak_memory(),
        },
    }


def peak_memory() -> int:
    """The most bytes that the first device has held; on a CPU the most of this process."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "peak_bytes_in_use" in stats:
        return int(stats["peak_bytes_in_use"])
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
