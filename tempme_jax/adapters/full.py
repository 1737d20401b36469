"""Full fine-tuning: the blocks, the projections and the temperature of CLIP train."""

import dataclasses

from tempme_jax.adapters.base import Adapter, Path

# CLIP4Clip freezes these with its default, `--freeze_layer_num 0`.
FROZEN = {
    ("video", "patches", "kernel"),
    ("video", "class_embedding"),
    ("video", "position_embedding"),
    ("video", "ln_pre", "scale"),
    ("video", "ln_pre", "bias"),
    ("text", "token_embedding"),
    ("text", "position_embedding"),
}


@dataclasses.dataclass(frozen=True)
class Full(Adapter):
    """Train everything after the embeddings: 123,540,993 parameters of B/32, as in CLIP4Clip.

    Attributes:
        embeddings: True to train the embeddings too, for pretraining from scratch.
    """

    embeddings: bool = False

    def is_trained(self, path: Path) -> bool:
        return self.embeddings or path not in FROZEN
