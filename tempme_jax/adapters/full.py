"""Full fine-tuning: the blocks, the projections and the temperature of CLIP train."""

import dataclasses

from tempme_jax.adapters.base import Adapter, Path

# What CLIP4Clip leaves frozen (`freeze_layer_num=0`, specification section 1).
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
    """Everything behind the embeddings trains: 123,540,993 parameters of B/32, as in CLIP4Clip.

    Attributes:
        embeddings: whether the embeddings train, too: all there is, to pretrain from scratch.
    """

    embeddings: bool = False

    def tunes(self, path: Path) -> bool:
        return self.embeddings or path not in FROZEN
