"""Read the sizes of a backbone from the shapes of its parameters."""

import dataclasses
import math
from typing import Any

import numpy as np

from tempme_jax.adapters.base import Path
from tempme_jax.networks.architecture import SIGLIP2_B16, UMT_B16, Architecture
from tempme_jax.weights.errors import WeightsError, raise_problems
from tempme_jax.weights.forms import find_depth
from tempme_jax.weights.layouts import find_family

# CLIP's heads are this wide unless a config says otherwise.
HEAD_WIDTH = 64
# But those of open_clip's ViT-H, ViT-g and ViT-bigG, by the width of a token, and of all that have
# their layout.
HEAD_WIDTHS = {1280: 80, 1408: 88, 1664: 104}
# Up to this width all CLIPs have heads 64 wide.
USUAL_WIDTH = 1024
# The positions of a UMT are computed, so a damaged number could ask for far too many.
LARGEST_IMAGE = 2048
# The arrays that show the sizes, and their numbers of dimensions.
UMT_DIMENSIONS = {
    ("video", "patches", "kernel"): 2,
    ("text", "token_embedding"): 2,
    ("text", "position_embedding"): 2,
}
SIGLIP_DIMENSIONS = UMT_DIMENSIONS | {("video", "position_embedding"): 2}
DIMENSIONS = UMT_DIMENSIONS | {
    ("video", "class_embedding"): 1,
    ("video", "position_embedding"): 2,
    ("video", "projection"): 2,
}


def infer_architecture(params: dict[Path, np.ndarray], **about: Any) -> Architecture:
    """Read the sizes from the shapes of a backbone's parameters.

    `about` are fields of `Architecture` that the shapes do not show, and may have `head_width`; all
    may be left out.

    Raises:
        WeightsError: if the shapes are not those of the backbone.
    """
    return SIZES[find_family(params).name](params, **about)


def infer_clip(
    params: dict[Path, np.ndarray],
    *,
    heads: int | None = None,
    text_heads: int | None = None,
    head_width: int | None = None,
    image_size: int | None = None,
    embed_dim: int | None = None,
    **others: Any,
) -> Architecture:
    """Read the sizes of a CLIP with a ViT, whose arrays show `image_size` and `embed_dim`.

    Heads are 64 wide unless their number or width is given, or in a tower as wide as ViT-H's.
    """
    check_dimensions(params, DIMENSIONS)
    width = params["video", "class_embedding"].shape[0]
    patch = math.isqrt(params["video", "patches", "kernel"].shape[1] // 3)
    side = math.isqrt(max(params["video", "position_embedding"].shape[0] - 1, 0))
    context_length, text_width = params["text", "position_embedding"].shape
    of_video = heads
    if of_video is None:
        of_video = width // max(choose_head_width(width) if head_width is None else head_width, 1)
    try:
        return Architecture(
            embed_dim=params["video", "projection"].shape[1],
            image_size=side * patch,
            patch=patch,
            width=width,
            depth=find_depth(params, "video"),
            heads=of_video,
            text_width=text_width,
            text_depth=find_depth(params, "text"),
            text_heads=text_width // HEAD_WIDTH if text_heads is None else text_heads,
            vocab_size=params["text", "token_embedding"].shape[0],
            context_length=context_length,
            mlp_width=find_mlp_width(params, "video", width),
            text_mlp_width=find_mlp_width(params, "text", text_width),
            **others,
        )
    except ValueError as error:
        hint = ""
        if "heads" in str(error):
            hint = " (the arrays do not show the number of heads; a config.json beside them does)"
        raise WeightsError(f"this CLIP cannot be built: {error}{hint}") from error


def choose_head_width(width: int) -> int:
    """Return how wide the heads are of published video towers of this width.

    Raises:
        WeightsError: if none is known.

    >>> choose_head_width(768), choose_head_width(1280)
    (64, 80)
    """
    if width > USUAL_WIDTH and width not in HEAD_WIDTHS:
        raise WeightsError(
            f"this CLIP cannot be built: its video tower is {width} wide, and no published one of "
            "that width tells its number of heads, which the arrays do not show; an "
            "open_clip_config.json or config.json beside them does"
        )
    return HEAD_WIDTHS.get(width, HEAD_WIDTH)


def infer_umt(
    params: dict[Path, np.ndarray],
    *,
    heads: int | None = None,
    text_heads: int | None = None,
    image_size: int | None = None,
    embed_dim: int | None = None,
    activation: str = UMT_B16.activation,
    **others: Any,
) -> Architecture:
    """Read the sizes of a UMT, whose positions are computed and do not show the size of frames.

    A model for question answering has no projections, either.
    """
    check_dimensions(params, UMT_DIMENSIONS)
    if activation != UMT_B16.activation:
        raise WeightsError(f"UMT has the activation {UMT_B16.activation!r}, not {activation!r}")
    image_size = UMT_B16.image_size if image_size is None else image_size
    if image_size > LARGEST_IMAGE:
        raise WeightsError(f"image_size={image_size} of a UMT is at most {LARGEST_IMAGE}")
    depths = find_family(params).find_depths("tempme_jax", map("/".join, params))
    width, patch = params["video", "patches", "kernel"].shape
    context_length, text_width = params["text", "position_embedding"].shape
    projection = params.get(("video", "projection", "bias"))
    if projection is not None:
        embed_dim = projection.size
    try:
        return dataclasses.replace(
            UMT_B16,
            embed_dim=UMT_B16.embed_dim if embed_dim is None else embed_dim,
            image_size=image_size,
            patch=math.isqrt(patch // 3),
            width=width,
            depth=depths["video"],
            heads=count_heads("heads", width) if heads is None else heads,
            text_width=text_width,
            text_depth=depths["text"],
            text_heads=count_heads("text_heads", text_width) if text_heads is None else text_heads,
            vocab_size=params["text", "token_embedding"].shape[0],
            context_length=context_length,
            mlp_width=find_mlp_width(params, "video", width),
            text_mlp_width=find_mlp_width(params, "text", text_width, "layer_0"),
            backbone="umt-qa" if depths["answer"] else "umt",
            first_cross=depths["first_cross"],
            **others,
        )
    except ValueError as error:
        raise WeightsError(f"this UMT cannot be built: {error}") from error


def infer_siglip(
    params: dict[Path, np.ndarray],
    *,
    heads: int,
    text_heads: int,
    image_size: int | None = None,
    embed_dim: int | None = None,
    tokenizer: str = "",
    **others: Any,
) -> Architecture:
    """Read the sizes of a SigLIP, whose arrays show `embed_dim`.

    Frames may be larger than their patches together, so `image_size` is not shown.
    """
    if tokenizer not in ("gemma", "siglip"):
        raise WeightsError(
            f"tokenizer={tokenizer!r} is none of a SigLIP, which are 'gemma' and 'siglip'; the "
            "description of the model is damaged, get the file again"
        )
    check_dimensions(params, SIGLIP_DIMENSIONS)
    width, patch = params["video", "patches", "kernel"].shape
    patch = math.isqrt(patch // 3)
    patches = params["video", "position_embedding"].shape[0]
    context_length, text_width = params["text", "position_embedding"].shape
    if not patch:
        raise WeightsError("this SigLIP cannot be built: its patches have no pixels")
    image_size = math.isqrt(patches) * patch if image_size is None else image_size
    if (image_size // patch) ** 2 != patches:
        raise WeightsError(
            f"frames of {image_size} pixels have {(image_size // patch) ** 2} patches of {patch}, "
            f"but the arrays show positions for {patches}; the size of frames is image_size in "
            "vision_config of the config.json, and 224 where that does not say it"
        )
    try:
        return dataclasses.replace(
            SIGLIP2_B16,
            embed_dim=params["text", "head", "bias"].size,
            image_size=image_size,
            patch=patch,
            width=width,
            depth=find_depth(params, "video"),
            heads=heads,
            text_width=text_width,
            text_depth=find_depth(params, "text"),
            text_heads=text_heads,
            vocab_size=params["text", "token_embedding"].shape[0],
            context_length=context_length,
            mlp_width=find_mlp_width(params, "video", width),
            text_mlp_width=find_mlp_width(params, "text", text_width),
            tokenizer=tokenizer,
            backbone="siglip2" if tokenizer == "gemma" else "siglip",
            **others,
        )
    except ValueError as error:
        hint = " (a config.json says the number of heads, 12 where it does not)"
        hint = hint if "heads" in str(error) else ""
        raise WeightsError(f"this SigLIP cannot be built: {error}{hint}") from error


# How the sizes are read, by the family of the backbone.
SIZES = {"CLIP": infer_clip, "UMT": infer_umt, "SigLIP": infer_siglip}


def count_heads(name: str, width: int) -> int:
    """Return the number of heads of a tower of the public files; a ValueError if none fits."""
    if width % HEAD_WIDTH:
        raise ValueError(
            f"{name} cannot be told: width {width} is not a multiple of {HEAD_WIDTH}, the width of "
            "a head in every public file"
        )
    return width // HEAD_WIDTH


def check_dimensions(params: dict[Path, np.ndarray], dimensions: dict[Path, int]) -> None:
    """Raise a WeightsError unless the arrays that show sizes have their numbers of dimensions."""
    misshapen = [
        f"{'/'.join(path)} {params[path].shape}, not of {count} dimensions"
        for path, count in dimensions.items()
        if params[path].ndim != count
    ]
    raise_problems({"misshapen": misshapen})


def find_mlp_width(
    params: dict[Path, np.ndarray], tower: str, width: int, block: str = "block_0"
) -> int | None:
    """Return the width inside the MLPs of a tower; None if it is four times that of a token."""
    kernel = params.get((tower, block, "mlp", "fc", "kernel"))
    if kernel is None or kernel.ndim != 2 or kernel.shape[0] == 4 * width:
        return None
    return kernel.shape[0]
