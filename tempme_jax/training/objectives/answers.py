"""The cross entropy of answers to questions about videos, of UMT's fine-tuning for MSRVTT-QA."""

import dataclasses

import jax

from tempme_jax.losses import compute_answer_losses
from tempme_jax.training.objectives.base import Batch, Objective


@dataclasses.dataclass(frozen=True)
class AnswerObjective(Objective):
    """The weighted cross entropies of the answers of a question, on average over questions."""

    def encode(self, params: dict, batch: Batch, key: jax.Array) -> jax.Array:
        """Return the loss of each question, float32 [b].

        Args:
            params: all parameters.
            batch: "frames", "frame_mask", and "ids" and "text_mask" of questions, [b, ...];
                "answer_ids" and "answer_mask", [b, k, n], and "answer_weight", [b, k].
            key: what dropout draws with.
        """
        _, tokens = self.apply(
            params, key, self.make_pixels(batch), batch["frame_mask"], method="encode_video"
        )
        states = self.apply(
            params, key, batch["ids"], batch["text_mask"], tokens, method="read_question"
        )
        b, k, n = batch["answer_ids"].shape
        ids, mask = (batch[name].reshape(b * k, n) for name in ("answer_ids", "answer_mask"))
        logits = self.apply(params, key, ids, mask, states, method="write_answers")
        losses = compute_answer_losses(logits, ids, mask).reshape(b, k)
        return (losses * batch["answer_weight"]).sum(axis=1)

    def compute_loss(
        self, params: dict, encoded: jax.Array, batch: Batch, key: jax.Array
    ) -> jax.Array:
        """Return the mean loss of all questions, on all devices."""
        return encoded.mean()
