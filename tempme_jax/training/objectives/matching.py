"""UMT's objective: a contrastive loss, and whether texts fit videos that are hard to tell apart."""

import dataclasses
from collections.abc import Callable
from typing import Self, cast

import jax
import jax.numpy as jnp

from tempme_jax.losses import (
    compute_matching_loss,
    compute_similarity,
    compute_soft_contrastive_loss,
    draw_hard_negatives,
)
from tempme_jax.networks.network import Network
from tempme_jax.networks.tokens import Tokens
from tempme_jax.networks.umt import Umt
from tempme_jax.training.config import TrainSettings
from tempme_jax.training.objectives.base import Batch, Objective

# Vectors of videos and their last tokens, vectors of texts and their words.
Encoded = tuple[jax.Array, Tokens, jax.Array, Tokens]


@dataclasses.dataclass(frozen=True)
class MatchingObjective(Objective):
    """The contrastive loss (VTC), and the cross entropy of the matching head (VTM).

    The head judges every pair of the batch, every text with a wrong video, and every video with a
    wrong text. Captions of one video are right for it, wherever they are in the batch.

    Attributes:
        temperature: the contrastive loss divides cosines by it; 0 = the network's own.
        vtc_weight: weight of the contrastive loss; that of the other is 1.
        negative_group: rows that wrong partners are drawn from, see `draw_hard_negatives`.
        draw: how they are drawn by the logarithms of their weights.
    """

    temperature: float = 0.0
    vtc_weight: float = 1.0
    negative_group: int = 0
    draw: Callable = jax.random.categorical

    @classmethod
    def make(cls, network: Network, settings: TrainSettings, seed: int) -> Self:
        """Return the objective of a run."""
        return dataclasses.replace(
            super().make(network, settings, seed),
            temperature=settings.temperature,
            vtc_weight=settings.vtc_weight,
            negative_group=settings.negative_group,
        )

    def encode(self, params: dict, batch: Batch, key: jax.Array) -> Encoded:
        """Return the vectors and tokens of videos and texts, [b, ...] each."""

        def encode_both(network: Umt, pixels, frame_mask, ids, mask):
            return network.encode_video(pixels, frame_mask), network.read_text(ids, mask)

        inputs = self.make_pixels(batch), batch["frame_mask"], batch["ids"], batch["text_mask"]
        video, text = self.apply(params, key, *inputs, method=encode_both)
        return *video, *text

    def compute_loss(
        self, params: dict, encoded: Encoded, batch: Batch, key: jax.Array
    ) -> jax.Array:
        """Return the sum of both losses, the first weighted."""
        vtc, vtm = self.compute_losses(params, encoded, batch, key)
        return self.vtc_weight * vtc + vtm

    def compute_losses(
        self, params: dict, encoded: Encoded, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Return the contrastive loss and the matching loss of the whole batch."""
        video, seen, text, words = encoded
        scale = self.network.compute_scale(params)
        if self.temperature:
            scale = jnp.float32(1 / self.temperature)
        logits = compute_similarity(text, video, scale, unit_videos=self.network.unit_videos)
        same = batch["video"][:, None] == batch["video"][None]
        for_texts, for_videos, judging = jax.random.split(key, 3)
        options = {"group": self.negative_group, "draw": self.draw}
        wrong_video, has_video = draw_hard_negatives(for_texts, logits, same, **options)
        wrong_text, has_text = draw_hard_negatives(for_videos, logits.T, same, **options)
        judged = self.judge(params, judging, seen, words, wrong_video, wrong_text)
        b = len(text)
        label = jnp.repeat(jnp.array([1, 0, 0]), b)
        counts = jnp.concatenate([jnp.ones(b, bool), has_video, has_text])
        vtc = compute_soft_contrastive_loss(logits, same)
        return vtc, compute_matching_loss(judged, label, counts)

    def judge(
        self,
        params: dict,
        key: jax.Array,
        seen: Tokens,
        words: Tokens,
        wrong_video: jax.Array,
        wrong_text: jax.Array,
    ) -> jax.Array:
        """Return logits [3 b, 2]: of the pairs, of texts with wrong videos, of the reverse."""
        twice, once = jax.random.split(key)

        def take(rows, at):
            return jax.tree.map(lambda a: a[at], rows)

        memory = self.apply(params, key, seen, method="remember")
        # The two texts of a video are neighbours.
        both = jnp.stack([jnp.arange(len(wrong_text)), wrong_text], axis=1).reshape(-1)
        judged = self.apply(params, twice, take(words, both), memory, method="judge")
        right, of_wrong_texts = judged.reshape(-1, 2, 2).swapaxes(0, 1)
        wrong = take(memory, wrong_video)
        of_wrong_videos = self.apply(params, once, words, wrong, method="judge")
        return jnp.concatenate([right, cast(jax.Array, of_wrong_videos), of_wrong_texts])
