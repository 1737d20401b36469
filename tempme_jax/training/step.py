"""One step of training: loss, gradients, update."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, cast

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, PartitionSpec

from tempme_jax.inputs import convert_to_pixels
from tempme_jax.losses import compute_contrastive_loss, compute_similarity
from tempme_jax.networks.clip import Clip
from tempme_jax.parameters import join
from tempme_jax.training.augment import rand_augment

# CLIP keeps its temperature at 1 / 100 or above (Radford et al., section 2.5).
LARGEST_LOGIT_SCALE = np.float32(np.log(100))

Batch = dict[str, jax.Array]


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


@dataclasses.dataclass(frozen=True)
class Objective:
    """The symmetric contrastive loss of a batch.

    Attributes:
        network: the network.
        gradient_cache: rows that are differentiated at once; 0 = all.
        temperature: the loss divides cosines by it; 0 = CLIP's, exp(-logit_scale).
    """

    network: Clip
    gradient_cache: int = 0
    temperature: float = 0.0

    def compute_gradients(
        self, trainable: dict, frozen: dict, batch: Batch
    ) -> tuple[jax.Array, dict]:
        """Return the loss of the whole batch and its gradients."""
        if 0 < self.gradient_cache < len(batch["frames"]):
            return self.compute_cached_gradients(trainable, frozen, batch)

        def loss(trainable):
            params = join(trainable, frozen)
            return self.compute_penalised_loss(params, batch, *self.encode(params, batch))

        return jax.value_and_grad(loss)(trainable)

    def compute_cached_gradients(
        self, trainable: dict, frozen: dict, batch: Batch
    ) -> tuple[jax.Array, dict]:
        """Return loss and gradients with the activations of only one part of the batch in memory.

        "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup" (Gao et al.,
        2021): first embed everything without keeping activations; then differentiate the loss by
        the vectors; then embed every part again, and pull its rows of that gradient back.
        """
        parts = len(batch["frames"]) // self.gradient_cache
        parted = jax.tree.map(functools.partial(cut, parts=parts), batch)

        def encode(trainable, part):
            return self.encode(join(trainable, frozen), part)

        def loss(trainable, vectors):
            video, text = (v.reshape(-1, v.shape[-1]) for v in vectors)
            return self.compute_penalised_loss(join(trainable, frozen), batch, video, text)

        vectors = jax.lax.map(functools.partial(encode, trainable), parted)
        value, (gradients, by_vectors) = jax.value_and_grad(loss, (0, 1))(trainable, vectors)

        def add(gradients, part_and_slopes):
            part, slopes = part_and_slopes
            _, pull_back = jax.vjp(lambda trainable: encode(trainable, part), trainable)
            return jax.tree.map(jnp.add, gradients, pull_back(slopes)[0]), None

        gradients, _ = jax.lax.scan(add, gradients, (parted, by_vectors))
        return value, gradients

    def encode(self, params: dict, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """Return the vectors of the videos and of the texts, [b, e] each."""
        arch = self.network.arch
        pixels = convert_to_pixels(batch["frames"], arch.image_size, arch.mean, arch.std)
        vectors = self.network.apply(
            {"params": params}, pixels, batch["frame_mask"], batch["ids"], batch["text_mask"]
        )
        return cast(tuple[jax.Array, jax.Array], vectors)  # `apply` has no type of its own

    def compute_penalised_loss(
        self, params: dict, batch: Batch, video: jax.Array, text: jax.Array
    ) -> jax.Array:
        """Return the loss plus the reducer's penalty, which depends on the parameters alone."""
        loss = self.compute_loss(params["logit_scale"], video, text)
        frames = batch["frames"].shape[1]
        penalty = self.network.reducer.compute_penalty(params, self.network.arch, frames)
        return loss if isinstance(penalty, float) and penalty == 0 else loss + penalty

    def compute_loss(self, logit_scale: jax.Array, video: jax.Array, text: jax.Array) -> jax.Array:
        """Return the contrastive loss over all pairs of the batch, on all devices."""
        if self.temperature:
            logit_scale = jnp.float32(-math.log(self.temperature))
        unit_videos = self.network.adapter.unit_videos
        return compute_contrastive_loss(
            compute_similarity(text, video, logit_scale, unit_videos=unit_videos)
        )


@dataclasses.dataclass(frozen=True)
class RandAugment:
    """The published augmentation: one draw for all frames of a video.

    Attributes:
        mesh: the mesh of all devices; each augments its own rows.
        seed: seed of the draws, which otherwise depend only on the row's place in the order.
    """

    mesh: Mesh
    seed: int

    def __call__(self, batch: Batch) -> Batch:
        """Return the batch with augmented frames."""
        keys = jax.vmap(functools.partial(jax.random.fold_in, jax.random.key(self.seed)))
        rows = PartitionSpec("data")
        # Without shard_map, XLA would gather the videos of all devices on each.
        augment = jax.shard_map(
            lambda places, frames: rand_augment(keys(places), frames),
            mesh=self.mesh, in_specs=(rows, rows), out_specs=rows,
        )  # fmt: skip
        return {**batch, "frames": augment(batch["place"], batch["frames"])}


def leave_unchanged(batch: Batch) -> Batch:
    """Return the batch as it is: no augmentation."""
    return batch


def cut(rows: jax.Array, parts: int) -> jax.Array:
    """Cut rows, [b, ...], into [parts, b / parts, ...]; each part has rows of every device."""
    return rows.reshape(-1, parts, *rows.shape[1:]).swapaxes(0, 1)


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
    loss, gradients = objective.compute_gradients(state.trainable, frozen, augment(batch))
    updates, optimizer_state = optimizer.update(gradients, state.optimizer, state.trainable)
    trainable = cast(dict[str, Any], optax.apply_updates(state.trainable, updates))
    if "logit_scale" in trainable:
        scale = jnp.minimum(trainable["logit_scale"], LARGEST_LOGIT_SCALE)
        trainable = {**trainable, "logit_scale": scale}
    state = TrainState(state.step + 1, trainable, optimizer_state)
    return state, {"loss": loss, "gradient_norm": optax.tree.norm(gradients)}
