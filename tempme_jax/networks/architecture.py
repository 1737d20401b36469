"""Sizes of CLIP models, and the published models by name."""

import dataclasses
from typing import TYPE_CHECKING, Any

from tempme_jax.checks import require_one_of, require_whole

if TYPE_CHECKING:  # whoever only reads sizes does without JAX
    import jax


def quick_gelu(x: "jax.Array") -> "jax.Array":
    """Return x sigmoid(1.702 x)."""
    import jax

    return x * jax.nn.sigmoid(1.702 * x)


def gelu(x: "jax.Array") -> "jax.Array":
    """Return the exact GELU."""
    import jax

    return jax.nn.gelu(x, approximate=False)


ACTIVATIONS = {"quick_gelu": quick_gelu, "gelu": gelu}
# CLIP's mean and standard deviation of red, green and blue, in 0 .. 1.
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
# How a frame becomes a square: its short side is resized and the middle cropped, as CLIP does, or
# both sides are resized, whatever its shape.
RESIZES = ("crop", "squash")
# Limits of `mean` and `std`: mean and deviation of numbers in 0 .. 1, and 1 for no scaling.
LIMITS = {"mean": (0.0, 1.0), "std": (0.05, 1.0)}
# "clip": CLIP's vocabulary, or its first ids; "bert": that of BERT, uncased; "unknown": that of a
# tokenizer that is not here.
TOKENIZERS = ("clip", "bert", "unknown")
# Mean and standard deviation of the pixels of ImageNet.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MAY_BE_ZERO = ("class_tokens", "first_cross")


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
        resize: how a frame becomes a square: "crop" (the short side is resized and the middle
            cropped, as CLIP does) or "squash" (both sides are resized, whatever its shape).
        tokenizer: "clip", "bert", or "unknown" if the ids are of neither: then the model takes no
            texts.
        backbone: name of the network, see `networks.backbones`.
        class_tokens: number of class tokens of a frame, 1 or 0.
        first_cross: first block of the text tower that attends to the video; 0 = none does.
        frozen_embeddings: whether full fine-tuning leaves the embeddings as they are.
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
    resize: str = "crop"
    tokenizer: str = dataclasses.field(default="clip", compare=False)
    backbone: str = "clip"
    class_tokens: int = 1
    first_cross: int = 0
    frozen_embeddings: bool = True

    def __post_init__(self):
        require_one_of(self.activation, ACTIVATIONS, "activation")
        require_one_of(self.tokenizer, TOKENIZERS, "tokenizer")
        require_one_of(self.resize, RESIZES, "resize")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type is int or (field.type == int | None and value is not None):
                require_whole(field.name, value, least=0 if field.name in MAY_BE_ZERO else 1)
        for name in LIMITS:
            object.__setattr__(self, name, require_colours(name, getattr(self, name)))
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

    @property
    def tokens(self) -> int:
        """Number of tokens of a frame: class tokens and patches."""
        return self.class_tokens + self.patches

    def get_mlp_width(self, tower: str) -> int:
        """Return the width inside the MLPs of a tower."""
        if tower == "video":
            return self.mlp_width or 4 * self.width
        return self.text_mlp_width or 4 * self.text_width


def require_colours(name: str, values: Any) -> tuple[float, float, float]:
    """Return three numbers within the LIMITS of a name as a tuple; else raise a ValueError."""
    least, most = LIMITS[name]
    allowed = isinstance(values, list | tuple) and len(values) == 3
    # Of NaN, no comparison is true.
    if not allowed or not all(type(v) in (int, float) and least <= v <= most for v in values):
        raise ValueError(
            f"{name}={values!r:.80} must be three numbers in {least:g} .. {most:g}, of red, green "
            "and blue in 0 .. 1"
        )
    red, green, blue = map(float, values)
    return red, green, blue


UMT_B16 = Architecture(
    patch=16, text_width=768, text_heads=12, vocab_size=30522, context_length=512,
    activation="gelu", mean=IMAGENET_MEAN, std=IMAGENET_STD, resize="squash", tokenizer="bert",
    backbone="umt", class_tokens=0, first_cross=9, frozen_embeddings=False,
)  # fmt: skip
ARCHITECTURES = {
    "ViT-B/32": Architecture(),
    "ViT-B/16": Architecture(patch=16),
    "ViT-L/14": Architecture(
        embed_dim=768, patch=14, width=1024, depth=24, heads=16, text_width=768, text_heads=12
    ),
    "UMT-B/16": UMT_B16,
    "UMT-B/16-QA": dataclasses.replace(UMT_B16, backbone="umt-qa"),
}
