"""Full fine-tuning: the blocks, the projections and the temperature of the backbone train."""

import dataclasses

from tempme_jax.adapters.base import Adapter, Path
from tempme_jax.networks.architecture import Architecture

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
        embeddings: True to train the embeddings too, for pretraining from scratch. None: as the
            backbone was published: CLIP4Clip freezes them, UMT trains them.
    """

    embeddings: bool | None = None

    def resolve(self, *, frames: int, words: int, arch: Architecture) -> Adapter:
        if self.embeddings is not None:
            return self
        return dataclasses.replace(self, embeddings=not arch.frozen_embeddings)

    def is_trained(self, path: Path) -> bool:
        return bool(self.embeddings) or path not in FROZEN
