"""The symmetric contrastive loss of CLIP, which all methods of the paper on CLIP train with."""

import dataclasses
from typing import Self

import jax
import jax.numpy as jnp

from tempme_jax.late_interaction import FrameVectors, scale_to_unit, score
from tempme_jax.losses import compute_contrastive_loss, compute_similarity
from tempme_jax.networks.network import Network
from tempme_jax.training.config import TrainSettings
from tempme_jax.training.objectives.base import Batch, Objective
from tempme_jax.vectors import normalize

# Vectors of videos, or of them and their frames; and vectors of texts.
Vectors = tuple[jax.Array | FrameVectors, jax.Array]


@dataclasses.dataclass(frozen=True)
class ContrastiveObjective(Objective):
    """The symmetric contrastive loss of a batch.

    Attributes:
        temperature: the loss divides cosines by it; 0 = the network's own.
    """

    temperature: float = 0.0

    @classmethod
    def make(cls, network: Network, settings: TrainSettings, seed: int) -> Self:
        """Return the objective of a run."""
        shared = super().make(network, settings, seed)
        return dataclasses.replace(shared, temperature=settings.temperature)

    def encode(self, params: dict, batch: Batch, key: jax.Array) -> Vectors:
        """Return the vectors of the videos, perhaps with their frames, and of the texts."""
        pixels = self.make_pixels(batch)
        given = pixels, batch["frame_mask"], batch["ids"], batch["text_mask"]
        if not self.network.tau:
            return self.apply(params, key, *given)

        def encode_both(network: Network, pixels, frame_mask, ids, mask):
            return network.encode_video_frames(pixels, frame_mask), network.encode_text(ids, mask)

        return self.apply(params, key, *given, method=encode_both)

    def compute_loss(
        self, params: dict, encoded: Vectors, batch: Batch, key: jax.Array
    ) -> jax.Array:
        """Return the contrastive loss over all pairs of the batch, on all devices."""
        video, text = encoded
        return compute_contrastive_loss(self.compare(params, video, text))

    def compare(self, params: dict, video: jax.Array | FrameVectors, text: jax.Array) -> jax.Array:
        """Return the similarities of all texts and videos as the loss takes them, [b, b]."""
        scale = self.network.compute_scale(params)
        if self.temperature:
            scale = jnp.float32(1 / self.temperature)
        if isinstance(video, FrameVectors):
            if self.network.unit_videos:
                video = scale_to_unit(video)
            tau = self.network.compute_tau(params)
            return scale * score(normalize(text), video.frames, video.weights, tau)[0]
        return compute_similarity(text, video, scale, unit_videos=self.network.unit_videos)
