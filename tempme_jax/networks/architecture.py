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


def gelu_pytorch_tanh(x: "jax.Array") -> "jax.Array":
    """Return the GELU by its approximation with tanh, under the name of transformers."""
    import jax

    return jax.nn.gelu(x, approximate=True)


ACTIVATIONS = {"quick_gelu": quick_gelu, "gelu": gelu, "gelu_pytorch_tanh": gelu_pytorch_tanh}
# CLIP's mean and standard deviation of red, green and blue, in 0 .. 1.
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
# How a frame becomes a square: its short side is resized and the middle cropped, as CLIP does, or
# both sides are resized, whatever its shape. Both are bicubic; the last one is bilinear.
RESIZES = ("crop", "squash", "squash_bilinear")
# Limits of `mean` and `std`: mean and deviation of numbers in 0 .. 1, and 1 for no scaling.
LIMITS = {"mean": (0.0, 1.0), "std": (0.05, 1.0)}
# "clip": CLIP's vocabulary, or its first ids; "bert": that of BERT, uncased; "siglip" and "gemma":
# those of SigLIP and SigLIP 2, which lie with the weights; "unknown": that of a tokenizer that is
# not here.
TOKENIZERS = ("clip", "bert", "siglip", "gemma", "unknown")
# Backbones that leave out the pixels beside the last whole patch, as so400m-patch14-384 needs it.
CUT_TO_PATCHES = ("siglip", "siglip2")
# Mean and standard deviation of the pixels of ImageNet.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# Mean and deviation that bring pixels to -1 .. 1, as SigLIP takes them.
HALF = (0.5, 0.5, 0.5)
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
        activation: of the MLPs: "quick_gelu" (OpenAI, MetaCLIP), "gelu" (exact; LaCLIP) or
            "gelu_pytorch_tanh" (approximate; SigLIP).
        mlp_width, text_mlp_width: width inside the MLPs of each tower; None = four times a token's.
        mean, std: mean and standard deviation of red, green and blue, in 0 .. 1, by which pixels
            are normalised.
        resize: how a frame becomes a square: "crop" (the short side is resized and the middle
            cropped, as CLIP does) or "squash" (both sides are resized, whatever its shape;
            "squash_bilinear" the same, bilinear and not bicubic).
        tokenizer: "clip", "bert", "siglip", "gemma", or "unknown" if the ids are of none of them:
            then the model takes no texts.
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
        if self.backbone in CUT_TO_PATCHES:
            del divisions["image_size by patch"]
            require_whole("patch", self.patch, least=1, most=self.image_size)
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


VIT_L14 = Architecture(
    embed_dim=768, patch=14, width=1024, depth=24, heads=16, text_width=768, text_heads=12
)
# The larger ones are open_clip's. Their heads are 80, 88 and 104 wide.
VIT_H14 = Architecture(
    embed_dim=1024, patch=14, width=1280, depth=32, heads=16, text_width=1024, text_depth=24,
    text_heads=16, activation="gelu",
)  # fmt: skip
UMT_B16 = Architecture(
    patch=16, text_width=768, text_heads=12, vocab_size=30522, context_length=512,
    activation="gelu", mean=IMAGENET_MEAN, std=IMAGENET_STD, resize="squash", tokenizer="bert",
    backbone="umt", class_tokens=0, first_cross=9, frozen_embeddings=False,
)  # fmt: skip
SIGLIP2_B16 = Architecture(
    embed_dim=768, patch=16, text_width=768, text_heads=12, vocab_size=256_000, context_length=64,
    activation="gelu_pytorch_tanh", mean=HALF, std=HALF, resize="squash_bilinear",
    tokenizer="gemma", backbone="siglip2", class_tokens=0,
)  # fmt: skip
SO400M = {
    "embed_dim": 1152, "width": 1152, "depth": 27, "heads": 16, "mlp_width": 4304,
    "text_width": 1152, "text_depth": 27, "text_heads": 16, "text_mlp_width": 4304, "patch": 14,
}  # fmt: skip
ARCHITECTURES = {
    "ViT-B/32": Architecture(),
    "ViT-B/32-256": Architecture(image_size=256),
    "ViT-B/16": Architecture(patch=16),
    "ViT-L/14": VIT_L14,
    "ViT-L/14-336": dataclasses.replace(VIT_L14, image_size=336),
    "ViT-H/14": VIT_H14,
    "ViT-H/14-378": dataclasses.replace(VIT_H14, image_size=378),
    "ViT-g/14": dataclasses.replace(VIT_H14, width=1408, depth=40, mlp_width=6144),
    "ViT-bigG/14": dataclasses.replace(
        VIT_H14, embed_dim=1280, width=1664, depth=48, mlp_width=8192,
        text_width=1280, text_depth=32, text_heads=20,
    ),
    "UMT-B/16": UMT_B16,
    "UMT-B/16-QA": dataclasses.replace(UMT_B16, backbone="umt-qa"),
    "SigLIP2-B/16": SIGLIP2_B16,
    "SigLIP2-B/32-256": dataclasses.replace(SIGLIP2_B16, patch=32, image_size=256),
    "SigLIP2-L/16-256": dataclasses.replace(
        SIGLIP2_B16, image_size=256, embed_dim=1024, width=1024, depth=24, heads=16,
        text_width=1024, text_depth=24, text_heads=16,
    ),
    "SigLIP2-So400m/14": dataclasses.replace(SIGLIP2_B16, **SO400M),
    "SigLIP2-So400m/14-384": dataclasses.replace(SIGLIP2_B16, **SO400M, image_size=384),
}  # fmt: skip
