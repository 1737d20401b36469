"""Read the sizes of a CLIP from the shapes of its parameters."""

import math
from typing import Any

import numpy as np

from tempme_jax.adapters.base import Path
from tempme_jax.networks.architecture import Architecture
from tempme_jax.weights.errors import WeightsError, raise_problems
from tempme_jax.weights.layouts import find_depth

# CLIP's heads are this wide unless a config says otherwise.
HEAD_WIDTH = 64
# The arrays that show the sizes, and their numbers of dimensions.
DIMENSIONS = {
    ("video", "class_embedding"): 1,
    ("video", "patches", "kernel"): 2,
    ("video", "position_embedding"): 2,
    ("video", "projection"): 2,
    ("text", "token_embedding"): 2,
    ("text", "position_embedding"): 2,
}


def infer_architecture(
    params: dict[Path, np.ndarray],
    *,
    heads: int | None = None,
    text_heads: int | None = None,
    head_width: int | None = None,
    **others: Any,
) -> Architecture:
    """Read the sizes from the shapes of CLIP's parameters.

    Heads are 64 wide unless their number or width is given; `others` are further fields of
    `Architecture`, which no shape shows.

    Raises:
        WeightsError: if the shapes are not those of a CLIP with a ViT on square images.
    """
    check_dimensions(params)
    width = params["video", "class_embedding"].shape[0]
    patch = math.isqrt(params["video", "patches", "kernel"].shape[1] // 3)
    side = math.isqrt(max(params["video", "position_embedding"].shape[0] - 1, 0))
    context_length, text_width = params["text", "position_embedding"].shape
    of_video = width // max(HEAD_WIDTH if head_width is None else head_width, 1)
    try:
        return Architecture(
            embed_dim=params["video", "projection"].shape[1],
            image_size=side * patch,
            patch=patch,
            width=width,
            depth=find_depth(params, "video"),
            heads=of_video if heads is None else heads,
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


def check_dimensions(params: dict[Path, np.ndarray]) -> None:
    """Raise a WeightsError unless the arrays that show sizes have their numbers of dimensions."""
    misshapen = [
        f"{'/'.join(path)} {params[path].shape}, not of {dimensions} dimensions"
        for path, dimensions in DIMENSIONS.items()
        if params[path].ndim != dimensions
    ]
    raise_problems({"misshapen": misshapen})


def find_mlp_width(params: dict[Path, np.ndarray], tower: str, width: int) -> int | None:
    """Return the width inside the MLPs of a tower; None if it is four times that of a token."""
    kernel = params.get((tower, "block_0", "mlp", "fc", "kernel"))
    if kernel is None or kernel.ndim != 2 or kernel.shape[0] == 4 * width:
        return None
    return kernel.shape[0]
