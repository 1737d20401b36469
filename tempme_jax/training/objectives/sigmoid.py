"""SigLIP's loss: every text is judged with every video of the batch, each pair by itself."""

import dataclasses
from typing import cast

import jax

from tempme_jax.losses import compute_sigmoid_loss
from tempme_jax.networks.siglip import Siglip
from tempme_jax.training.objectives.base import Batch
from tempme_jax.training.objectives.contrastive import ContrastiveObjective, Vectors


@dataclasses.dataclass(frozen=True)
class SigmoidObjective(ContrastiveObjective):
    """The pairwise sigmoid loss of a batch, by the network's temperature and bias.

    Captions of one video are right for it, wherever they are in the batch.
    """

    def compute_loss(
        self, params: dict, encoded: Vectors, batch: Batch, key: jax.Array
    ) -> jax.Array:
        """Return the loss over all pairs of the batch, on all devices."""
        video, text = encoded
        logits = self.compare(params, video, text) + cast(Siglip, self.network).get_bias(params)
        same = batch["video"][:, None] == batch["video"][None]
        return compute_sigmoid_loss(logits, same)
