"""The base class of objectives: the loss of a batch, and its gradients, at once or in parts."""

import dataclasses
import functools
from typing import Any, Self

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from tempme_jax.inputs import convert_to_pixels
from tempme_jax.networks.network import Network
from tempme_jax.parameters import join
from tempme_jax.training.config import TrainSettings

Batch = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Objective:
    """The loss of a batch: `encode` treats its rows one by one, `compute_loss` all together.

    Attributes:
        network: the network; its `drop_path` and `dropout` act in training alone.
        gradient_cache: rows that are differentiated at once; 0 = all.
        seed: seed of all that a step draws, which otherwise depends only on its number.
    """

    network: Network
    gradient_cache: int = 0
    seed: int = 0

    @classmethod
    def make(cls, network: Network, settings: TrainSettings, seed: int) -> Self:
        """Return the objective of a run; each class takes its own settings."""
        return cls(network, gradient_cache=settings.gradient_cache, seed=seed)

    def encode(self, params: dict, batch: Batch, key: Key[Array, ""]) -> Any:
        """Return arrays [b, ...] of the rows of a batch, in any tree; no row sees another.

        Args:
            params: all parameters.
            batch: the rows.
            key: what dropout draws with.
        """
        raise NotImplementedError

    def compute_loss(
        self, params: dict, encoded: Any, batch: Batch, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """Return the loss of the whole batch, on all devices, by what `encode` returned."""
        raise NotImplementedError

    def make_key(self, step: jax.Array) -> Key[Array, ""]:
        """Return the key of all that a step draws: a stopped training resumes with the same."""
        return jax.random.fold_in(jax.random.key(self.seed), step)

    def compute_gradients(
        self, trainable: dict, frozen: dict, batch: Batch, key: Key[Array, ""]
    ) -> tuple[jax.Array, dict]:
        """Return the loss of the whole batch and its gradients."""
        if 0 < self.gradient_cache < len(batch["frames"]):
            return self.compute_cached_gradients(trainable, frozen, batch, key)
        encoding, comparing = jax.random.split(key)

        def loss(trainable):
            params = join(trainable, frozen)
            encoded = self.encode(params, batch, encoding)
            return self.compute_penalised_loss(params, encoded, batch, comparing)

        return jax.value_and_grad(loss)(trainable)

    def compute_cached_gradients(
        self, trainable: dict, frozen: dict, batch: Batch, key: Key[Array, ""]
    ) -> tuple[jax.Array, dict]:
        """Return loss and gradients with the activations of only one part of the batch in memory.

        "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup" (Gao et al.,
        2021): first encode everything without keeping activations; then differentiate the loss by
        what is encoded; then encode every part again, and pull its rows of that gradient back.
        Both times a part draws the same.
        """
        parts = len(batch["frames"]) // self.gradient_cache
        encoding, comparing = jax.random.split(key)
        parted = jax.tree.map(functools.partial(cut, parts=parts), batch)
        parted = parted, jax.random.split(encoding, parts)

        def encode(trainable, part):
            return self.encode(join(trainable, frozen), *part)

        def loss(trainable, encoded):
            encoded = jax.tree.map(lambda rows: paste(rows), encoded)
            return self.compute_penalised_loss(join(trainable, frozen), encoded, batch, comparing)

        encoded = jax.lax.map(functools.partial(encode, trainable), parted)
        value, (gradients, by_encoded) = jax.value_and_grad(loss, (0, 1))(trainable, encoded)

        def add(gradients, part_and_slopes):
            part, slopes = part_and_slopes
            _, pull_back = jax.vjp(lambda trainable: encode(trainable, part), trainable)
            return jax.tree.map(jnp.add, gradients, pull_back(slopes)[0]), None

        gradients, _ = jax.lax.scan(add, gradients, (parted, by_encoded))
        return value, gradients

    def compute_penalised_loss(
        self, params: dict, encoded: Any, batch: Batch, key: Key[Array, ""]
    ) -> jax.Array:
        """Return the loss plus the reducer's penalty, which depends on the parameters alone."""
        loss = self.compute_loss(params, encoded, batch, key)
        frames = batch["frames"].shape[1]
        penalty = self.network.reducer.compute_penalty(params, self.network.arch, frames)
        return loss if isinstance(penalty, float) and penalty == 0 else loss + penalty

    def make_pixels(self, batch: Batch) -> Float[Array, "b f s s 3"]:
        """Return the normalised pixels of a batch."""
        arch = self.network.arch
        return convert_to_pixels(batch["frames"], arch.image_size, arch.mean, arch.std)

    def apply(self, params: dict, key: Key[Array, ""], *inputs: Any, **options: Any) -> Any:
        """Call the network, or one of its methods, with a key for dropout where it has any."""
        if self.network.drop_path or self.network.dropout:
            options["rngs"] = {"dropout": key}
        return self.network.apply({"params": params}, *inputs, **options)


def cut(rows: jax.Array, parts: int) -> jax.Array:
    """Cut rows, [b, ...], into [parts, b / parts, ...]; each part has rows of every device."""
    return rows.reshape(-1, parts, *rows.shape[1:]).swapaxes(0, 1)


def paste(parts: jax.Array) -> jax.Array:
    """Undo `cut`: return rows, [b, ...], in the order of the batch."""
    return parts.swapaxes(0, 1).reshape(-1, *parts.shape[2:])
