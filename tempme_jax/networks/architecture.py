"""Sizes of CLIP models, and the published models by name."""

import dataclasses

import jax

from tempme_jax.checks import require_one_of, require_whole

ACTIVATIONS = {
    "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
}


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

    def __post_init__(self):
        require_one_of(self.activation, ACTIVATIONS, "activation")
        for field in dataclasses.fields(self):
            if field.type is int:
                require_whole(field.name, getattr(self, field.name), least=1)
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


ARCHITECTURES = {
    "ViT-B/32": Architecture(),
    "ViT-B/16": Architecture(patch=16),
    "ViT-L/14": Architecture(
        embed_dim=768, patch=14, width=1024, depth=24, heads=16, text_width=768, text_heads=12
    ),
}
