"""One step of training: augmentation, gradients, update."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, cast

import flax.struct
import jax
import numpy as np
import optax
from jax.sharding import Mesh, PartitionSpec

from tempme_jax import heap
from tempme_jax.training.augment import rand_augment
from tempme_jax.training.crops import crop_and_flip
from tempme_jax.training.objectives.base import Batch, Objective
from tempme_jax.training.sharding import place, replicate


@flax.struct.dataclass
class TrainState:
    """The state that a step of training changes.

    Attributes:
        step: int32, the number of steps made.
        trainable: the parameters that train.
        optimizer: the state of the optimiser.
    """

    step: jax.Array
    trainable: dict
    optimizer: optax.OptState


def make_state(trainable: dict, optimizer: optax.GradientTransformation, mesh: Mesh) -> TrainState:
    """Return the state before the first step, on all devices as every step leaves it."""
    whole = replicate(mesh)
    moments = jax.jit(optimizer.init, out_shardings=whole)(trainable)
    return TrainState(place(whole, np.int32(0)), trainable, moments)


# On a CPU, memory of steps that need less than this is kept from step to step, which may double it.
KEPT_BYTES = 512 * 2**20
AUGMENTATIONS: dict[str, Callable] = {"randaugment": rand_augment, "umt": crop_and_flip}


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """An augmentation of frames, with one draw for all frames of a video.

    Attributes:
        mesh: the mesh of all devices; each augments its own rows.
        seed: seed of the draws, which otherwise depend only on the row's place in the order.
        name: a name of `AUGMENTATIONS`.
    """

    mesh: Mesh
    seed: int
    name: str = "randaugment"

    def __call__(self, batch: Batch) -> Batch:
        """Return the batch with augmented frames."""
        keys = jax.vmap(functools.partial(jax.random.fold_in, jax.random.key(self.seed)))
        rows = PartitionSpec("data")
        # Without shard_map, XLA would gather the videos of all devices on each.
        augment = jax.shard_map(
            lambda places, frames: AUGMENTATIONS[self.name](keys(places), frames),
            mesh=self.mesh, in_specs=(rows, rows), out_specs=rows,
        )  # fmt: skip
        return {**batch, "frames": augment(batch["place"], batch["frames"])}


def leave_unchanged(batch: Batch) -> Batch:
    """Return the batch as it is: no augmentation."""
    return batch


@functools.partial(jax.jit, static_argnums=(0, 1, 2), donate_argnums=3)
def train_step(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    augment: Callable[[Batch], Batch],
    state: TrainState,
    frozen: dict,
    batch: Batch,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Return the next state, the loss, and the norm of the gradients before clipping."""
    key = objective.make_key(state.step)
    loss, gradients = objective.compute_gradients(state.trainable, frozen, augment(batch), key)
    updates, optimizer_state = optimizer.update(gradients, state.optimizer, state.trainable)
    trainable = cast(dict[str, Any], optax.apply_updates(state.trainable, updates))
    trainable = objective.network.limit(trainable)
    state = TrainState(state.step + 1, trainable, optimizer_state)
    return state, {"loss": loss, "gradient_norm": optax.tree.norm(gradients)}


class CompiledSteps:
    """Steps of training; those of each objective are compiled once, when it first comes.

    Args:
        optimizer: changes what trains.
        augment: changes the frames of every batch.
        frozen: the parameters that do not train, on the devices.
    """

    def __init__(
        self,
        optimizer: optax.GradientTransformation,
        augment: Callable[[Batch], Batch],
        frozen: dict,
    ):
        self._optimizer, self._augment, self._frozen = optimizer, augment, frozen
        self._compiled: dict[Objective, jax.stages.Compiled] = {}

    def make(
        self, objective: Objective, state: TrainState, batch: Batch
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        """Make a step, as `train_step` does."""
        if objective not in self._compiled:
            self._compiled[objective] = self._compile(objective, state, batch)
        return self._compiled[objective](state, self._frozen, batch)

    def _compile(
        self, objective: Objective, state: TrainState, batch: Batch
    ) -> jax.stages.Compiled:
        """Compile the steps of an objective; give back, or keep, what memory they leave."""
        lowered = train_step.lower(
            objective, self._optimizer, self._augment, state, self._frozen, batch
        )
        compiled = lowered.compile()
        heap.return_freed_memory()  # the compiler's, before the step takes as much
        if jax.default_backend() == "cpu":
            memory = compiled.memory_analysis()
            if memory and memory.temp_size_in_bytes < KEPT_BYTES:
                heap.keep_freed_memory()
        return compiled
