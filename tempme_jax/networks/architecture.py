"""Sizes of CLIP models, and the published models by name."""

import dataclasses
import math
from typing import Any

import jax

from tempme_jax.checks import require_one_of, require_whole

ACTIVATIONS = {
    "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
}
# CLIP's mean and standard deviation of red, green and blue, in 0 .. 1.
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
# "clip": CLIP's vocabulary, or its first ids; "unknown": that of a tokenizer that is not here.
TOKENIZERS = ("clip", "unknown")


@dataclasses.dataclass(frozen=True)
class Architecture:
    """The sizes of a CLIP model; the defaults are ViT-B/32's.

    Attributes:
        embed_dim: length of the vectors of videos and texts.
        image_size, patch: side of a frame and of a patch, in pixels.
        width, depth, heads: width of a token, number of blocks and of heads, video tower.
        text_width, text_depth, text_heads: the same of the text tower.
        vocab_size: number of token ids.
        context_length: number of positions of a text.
        activation: of the MLPs: "quick_gelu" (OpenAI, MetaCLIP) or "gelu" (exact; LaCLIP).
        mlp_width, text_mlp_width: width inside the MLPs of each tower; None = four times a token's.
        mean, std: mean and standard deviation of red, green and blue, in 0 .. 1, by which pixels
            are normalised.
        tokenizer: "clip", or "unknown" if the ids are not CLIP's: then the model takes no texts.
    """

    embed_dim: int = 512
    image_size: int = 224
    patch: int = 32
    width: int = 768
    depth: int = 12
    heads: int = 12
    text_width: int = 512
    text_depth: int = 12
    text_heads: int = 8
    vocab_size: int = 49408
    context_length: int = 77
    activation: str = "quick_gelu"
    mlp_width: int | None = None
    text_mlp_width: int | None = None
    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD
    tokenizer: str = dataclasses.field(default="clip", compare=False)

    def __post_init__(self):
        require_one_of(self.activation, ACTIVATIONS, "activation")
        require_one_of(self.tokenizer, TOKENIZERS, "tokenizer")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type is int or (field.type == int | None and value is not None):
                require_whole(field.name, value, least=1)
        for name in ("mean", "std"):
            colours = require_colours(name, getattr(self, name), above_zero=name == "std")
            object.__setattr__(self, name, colours)
        divisions = {
            "image_size by patch": (self.image_size, self.patch),
            "width by heads": (self.width, self.heads),
            "text_width by text_heads": (self.text_width, self.text_heads),
        }
        for name, (total, part) in divisions.items():
            if total % part:
                raise ValueError(f"cannot divide {name}: {total} by {part}")

    @property
    def patches(self) -> int:
        """Number of patches of a frame."""
        return (self.image_size // self.patch) ** 2

    def get_mlp_width(self, tower: str) -> int:
        """Return the width inside the MLPs of a tower."""
        if tower == "video":
            return self.mlp_width or 4 * self.width
        return self.text_mlp_width or 4 * self.text_width


def require_colours(name: str, values: Any, *, above_zero: bool) -> tuple[float, float, float]:
    """Return three finite numbers as a tuple; for anything else raise a ValueError."""
    kind = "numbers above 0" if above_zero else "numbers"
    allowed = isinstance(values, list | tuple) and len(values) == 3
    if not allowed or not all(type(v) in (int, float) and math.isfinite(v) for v in values):
        raise ValueError(f"{name}={values!r:.80} must be three {kind}, of red, green and blue")
    if above_zero and min(values) <= 0:
        raise ValueError(f"{name}={values!r:.80} must be three {kind}, of red, green and blue")
    red, green, blue = map(float, values)
    return red, green, blue


ARCHITECTURES = {
    "ViT-B/32": Architecture(),
    "ViT-B/16": Architecture(patch=16),
    "ViT-L/14": Architecture(
        embed_dim=768, patch=14, width=1024, depth=24, heads=16, text_width=768, text_heads=12
    ),
}
