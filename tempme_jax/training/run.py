"""A run, from its settings to its results: data, model, training, evaluation."""

import dataclasses
import os
import pathlib
import resource
import sys
from collections.abc import Callable
from typing import Any

import flax.traverse_util
import jax
from jax.sharding import Mesh

from tempme_jax import costs
from tempme_jax.adapters.base import Adapter
from tempme_jax.datasets.prepared import Prepared
from tempme_jax.model import Model
from tempme_jax.parameters import flatten, join, split
from tempme_jax.screen import show_work
from tempme_jax.training import result_tables, results
from tempme_jax.training.checkpoint import Progress, read_progress, restore_selected
from tempme_jax.training.config import Config
from tempme_jax.training.dialing import DialedObjectives, list_schedules
from tempme_jax.training.identity import check_data, list_split_files
from tempme_jax.training.loop import Plan, train
from tempme_jax.training.model import build_model, check_frames, set_pooling
from tempme_jax.training.objectives.base import Batch
from tempme_jax.training.optim import make_learning_rate, make_optimizer
from tempme_jax.training.overlap import describe_overlap
from tempme_jax.training.places import make_storage
from tempme_jax.training.sharding import check_divides, make_mesh, place_params
from tempme_jax.training.splits import (
    check_annotations,
    open_split,
    prepare_data,
    require_same_resize,
)
from tempme_jax.training.step import (
    Augmentation,
    CompiledSteps,
    TrainState,
    leave_unchanged,
    make_state,
)
from tempme_jax.training.tasks import Task, check_task, choose_task
from tempme_jax.training.tracking import Tracker, open_tracker, require_service
from tempme_jax.training.workdir import check_workdir, open_workdir


def run(
    config: Config,
    workdir: str | os.PathLike,
    *,
    evaluate_only: bool = False,
    log: str | None = None,
) -> dict[str, Any] | None:
    """Prepare the data, train, evaluate the best checkpoint, and write results.json.

    What an earlier attempt has prepared and trained is not done again.

    Args:
        config: the settings.
        workdir: the folder of the run.
        evaluate_only: evaluate what was trained so far (or nothing), and do not train.
        log: a service that also gets curves and results, one of `tracking.SERVICES`.

    Returns:
        The content of results.json; None if training was asked to stop before its end.

    Raises:
        ValueError: if settings do not fit the data or the devices.
        PreparationError: if the data cannot be prepared.
        WorkdirError: if the folder belongs to something else, or a checkpoint is damaged.
        TrainingError: if training diverges.
    """
    mesh = make_mesh(config.mesh.data, config.mesh.model)
    check_divides("train.batch_size", config.train.batch_size, mesh)
    check_divides("train.gradient_cache", config.train.gradient_cache, mesh)
    require_service(log)
    # All that can be checked comes before the preparation, which may take hours.
    check_workdir(pathlib.Path(workdir), config)
    check_annotations(config.data)
    with show_work("Opening the model", quiet=not is_main_process()):
        model = set_pooling(build_model(config.model, config.seed), config.train)
    require_same_resize(config.data, model)
    check_task(model.network, config)
    check_frames(model, config.evaluate)
    list_schedules(model.network, model.num_frames, config.train)  # refused before the preparation
    prepare_data(config.data)
    folder = open_workdir(workdir, config)
    check_data(folder, config.data)
    trainable, frozen = split(model.network, model.params)
    if is_main_process():
        result_tables.print_parameters(model, trainable)
    with open_tracker(log if is_main_process() else None, folder, config) as tracker:
        this_run = Run(config, folder, mesh, model, place_params(mesh, frozen, split=True), tracker)
        trainable = place_params(mesh, trainable, split=False)
        if trainable and not evaluate_only and not this_run.train(trainable):
            return None
        selected = restore_selected(folder, trainable) if trainable else None
        return this_run.evaluate(*(selected or (trainable, Progress())))


def is_main_process() -> bool:
    """Return whether this process is the one that writes and reports."""
    return jax.process_index() == 0


@dataclasses.dataclass(frozen=True)
class Run:
    """A run whose data are prepared.

    Attributes:
        config: the settings.
        folder: the workdir.
        mesh: the mesh of all devices.
        model: the model as training begins with it.
        frozen: the parameters that do not train, on the devices.
        tracker: takes curves and results, beside the files.
    """

    config: Config
    folder: pathlib.Path
    mesh: Mesh
    model: Model
    frozen: dict
    tracker: Tracker = dataclasses.field(default_factory=Tracker)

    @property
    def task(self) -> Task:
        """What the model is trained for, and how it is measured."""
        return choose_task(self.model.network)

    def train(self, trainable: dict) -> bool:
        """Train from the newest checkpoint on; return whether the last step was made."""
        settings = self.config.train
        # Only training drops anything.
        network = self.model.network.copy(drop_path=settings.drop_path, dropout=settings.dropout)
        source = self.task.open_rows(self.config, self.model)
        rate = make_learning_rate(settings, source.steps)
        optimizer = make_optimizer(settings, rate, assign_rates(network.adapter, trainable))
        objective = self.task.objective.make(network, settings, self.config.seed)
        dialed = DialedObjectives(objective, settings, self.model.num_frames, self.config.seed)
        if is_main_process():
            dialed.describe()
        augment = leave_unchanged
        if settings.augmentation != "none":
            augment = Augmentation(self.mesh, self.config.seed, settings.augmentation)

        compiled = CompiledSteps(optimizer, augment, self.frozen)

        def step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, jax.Array]]:
            return compiled.make(dialed.take(state), state, batch)

        plan = Plan(
            self.config, self.folder, self.mesh, source, step, rate, self.make_evaluator(),
            reports=is_main_process(), tracker=self.tracker,
        )  # fmt: skip
        return train(plan, make_state(trainable, optimizer, self.mesh))[2]

    def make_evaluator(self) -> Callable[[TrainState], tuple[dict[str, Any], str]] | None:
        """Return the function that measures a state to select the best; None to take the last."""
        data, settings = self.config.data, self.config.evaluate
        if settings.select_on == "last":
            return None
        prepared = open_split(data, getattr(data, settings.select_on))
        plain = dataclasses.replace(settings, dual_softmax=False, qb_norm=False)
        config = dataclasses.replace(self.config, evaluate=plain)

        def evaluate(state: TrainState) -> tuple[dict[str, Any], str]:
            params = join(state.trainable, self.frozen)
            measured = self.task.evaluate(self.model, params, prepared, config, self.mesh)
            return self.task.summarize(measured, settings)

        return evaluate

    def evaluate(self, trainable: dict, progress: Progress) -> dict[str, Any]:
        """Evaluate trained parameters on the test split; write, print and return the results."""
        data, settings = self.config.data, self.config.evaluate
        prepared = open_split(data, data.test)
        params = join(trainable, self.frozen)
        measured = self.task.evaluate(
            self.model, params, prepared, self.config, self.mesh,
            intervals=True, bank=open_split(data, data.train) if settings.qb_norm else None,
            quiet=False,
        )  # fmt: skip
        is_selected = progress.step == progress.best_step
        measured["protocol"]["selected_on"] = settings.select_on if is_selected else "last"
        measured |= describe_split(self.config, prepared) | self.describe_training(trainable)
        measured |= measure_costs(self.model, read_progress(self.folder)) | {"step": progress.step}
        measured["found"] = self.model.reducer.read_found_options(params)
        if trainable:
            seen = (list_split_files(data, name) for name in (data.train, data.test))
            measured["remarks"] += describe_overlap(*seen)
        if is_main_process():
            results.write_results(self.folder / results.RESULTS, measured)
            self.tracker.summarize(measured)
            result_tables.print_results([measured])
            result_tables.print_found_options(measured["found"])
        return measured

    def describe_training(self, trainable: dict) -> dict[str, Any]:
        """Return whether the training has come to its end, and the remark if it has not."""
        if not trainable:
            return {"finished": True, "remarks": []}
        made, steps = read_progress(self.folder).step, self.count_steps()
        remark = f"TRAINING IS NOT FINISHED: {made} of {steps or '?'} steps"
        if not made:
            remark = "NOT TRAINED: what the method learns is as it was drawn"
        finished = made == steps
        return {"finished": finished, "remarks": [] if finished else [remark]}

    def count_steps(self) -> int:
        """Return the steps of the whole training; 0 if the data do not allow any."""
        try:
            return self.task.open_rows(self.config, self.model).steps
        except ValueError:
            return 0


def measure_costs(model: Model, training: Progress) -> dict[str, Any]:
    """Return the costs of a video, and those of the training so far."""
    cost = costs.count_costs(model.network, model.num_frames)
    memory = measure_peak_memory()
    return {
        "costs": {name: getattr(cost, name) for name in results.PARTS["costs"]},
        "training": {
            "seconds": training.seconds, "steps": training.step, "peak_memory_bytes": memory,
        },
    }  # fmt: skip


def assign_rates(adapter: Adapter, trainable: dict) -> dict:
    """Return the learning rate of every parameter that trains, in units of the recipe's."""
    rates = {path: adapter.choose_rate(path) for path in flatten(trainable)}
    return flax.traverse_util.unflatten_dict(rates)


def describe_split(config: Config, prepared: Prepared) -> dict[str, Any]:
    """Return the fields of results.json for the data, the method and the settings."""
    texts = sum(map(len, prepared.captions))
    return {
        "dataset": config.data.name,
        "variant": make_storage(config.data).variant,
        "split": config.data.test,
        "pairs": texts,
        "texts": texts,
        "videos": len(prepared),
        "id_hash": prepared.id_hash,
        "text_hash": prepared.text_hash,
        "complete": len(prepared) == prepared.expected,
        "expected": prepared.expected,
        "method": config.model.method,
        "seed": config.seed,
        "config": config.to_json(),
    }


def measure_peak_memory() -> int:
    """Return the most bytes that the first device, or this process on a CPU, has held so far."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "peak_bytes_in_use" in stats:
        return int(stats["peak_bytes_in_use"])
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
