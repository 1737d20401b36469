"""Read and write files of weights together with their architecture."""

import dataclasses
import json
import math
import os
import pathlib
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from tempme_jax.adapters.base import Path
from tempme_jax.checks import require_one_of
from tempme_jax.files import write_whole
from tempme_jax.networks.architecture import ACTIVATIONS, Architecture
from tempme_jax.weights.hub import locate
from tempme_jax.weights.layouts import (
    WeightsError,
    find_depth,
    raise_problems,
    read_layout,
    write_layout,
)

# Files of models with exact GELU, which nothing in the files says.
GELU_FILES = ("laion400m_laclip_vitb16",)
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
# The key in a safetensors file's metadata where tempme_jax describes the model.
METADATA = "tempme_jax"


@dataclasses.dataclass(frozen=True)
class Weights:
    """The contents of a file of weights.

    Attributes:
        params: float32 parameters by path; a subset of a model's.
        arch: their architecture.
        settings: the settings of a model that tempme_jax saved, empty for other files: "method",
            "options" (all, settled), "given" (the options that the user gave; not in files of
            version 0.1), "folded" (whether what was learned is added to the pretrained weights),
            "num_frames", "max_words", "drawn".
    """

    params: dict[Path, np.ndarray]
    arch: Architecture
    settings: dict[str, Any]


def load_weights(source: str | os.PathLike, *, activation: str | None = None) -> Weights:
    """Read a safetensors file, a folder that holds one, or a Hugging Face repository.

    Args:
        source: a path, or the name of a repository such as "openai/clip-vit-base-patch32".
        activation: activation of the MLPs, if the file does not say it or says it wrongly.

    Raises:
        FileNotFoundError: if there is no such file, folder or repository; it says what to do.
        WeightsError: if the file is damaged, or its arrays are not those of a CLIP.
        ValueError: if the activation is unknown.
    """
    file, configs = locate(str(source))
    arrays, ours = read_safetensors(file)
    _, params, arch = interpret(file, arrays, ours, configs, activation)
    return Weights(params, arch, ours.get("settings", {}))


def interpret(
    file: pathlib.Path,
    arrays: dict[str, np.ndarray],
    ours: dict[str, Any],
    configs: list[pathlib.Path],
    activation: str | None,
) -> tuple[str, dict[Path, np.ndarray], Architecture]:
    """Return the layout of a file's arrays, the parameters, and their architecture.

    Args:
        file: path of the file, for errors and for activations known by name.
        arrays: its arrays by name.
        ours: the description of the model in a file of tempme_jax; empty for others.
        configs: the config files beside it, which name the activation if `activation` is None.
    """
    if activation is not None:
        require_one_of(activation, ACTIVATIONS, "activation")
    try:
        layout, params = read_layout(arrays)
        hints = read_hints(file, ours, configs)
        if activation is not None:
            hints["activation"] = activation
        return layout, params, infer_architecture(params, **hints)
    except WeightsError as error:
        raise WeightsError(f"{file}: {error}") from error


def save_weights(
    file: str | os.PathLike,
    params: dict[Path, np.ndarray],
    arch: Architecture,
    *,
    layout: str = "tempme_jax",
    settings: dict[str, Any] | None = None,
) -> None:
    """Write a safetensors file, whole or not at all.

    Args:
        file: path of the file, ending in .safetensors; a file there is replaced.
        params: parameters by path.
        arch: their architecture, which is recorded in the file.
        layout: "tempme_jax", "openai", "published" or "huggingface".
        settings: see `Weights`.

    Raises:
        WeightsError: if the layout has no place for some of the parameters.
        ValueError: if the layout is unknown, or the name of the file ends otherwise.
    """
    file = pathlib.Path(file)
    if file.suffix != ".safetensors":
        raise ValueError(f"weights go to a file that ends in .safetensors, not to {str(file)!r}")
    arrays = write_layout(layout, params)
    about = {"architecture": dataclasses.asdict(arch), "settings": settings or {}}
    file.parent.mkdir(parents=True, exist_ok=True)
    with write_whole(file) as unfinished:
        unfinished.touch()
        mode = unfinished.stat().st_mode
        safetensors.numpy.save_file(arrays, unfinished, metadata={METADATA: json.dumps(about)})
        unfinished.chmod(mode)  # safetensors makes it its owner's alone


def read_safetensors(file: pathlib.Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the arrays of a safetensors file, and tempme_jax's description of the model in it."""
    if file.suffix != ".safetensors":
        raise WeightsError(
            f"{file} is not a .safetensors file; convert a .pt or .bin file with "
            f"`tempme convert {file} {file.with_suffix('.safetensors').name}`"
        )
    try:
        with safetensors.safe_open(file, "numpy") as opened:
            ours = json.loads((opened.metadata() or {}).get(METADATA, "{}"))
            return {name: opened.get_tensor(name) for name in opened.keys()}, ours
    # AttributeError and TypeError: NumPy has no such dtype, as for numbers of 8 bits.
    except (safetensors.SafetensorError, json.JSONDecodeError, AttributeError, TypeError) as error:
        raise WeightsError(f"{file} is not a readable safetensors file: {error}") from error


def read_hints(
    file: pathlib.Path, ours: dict[str, Any], configs: list[pathlib.Path]
) -> dict[str, Any]:
    """Return "heads", "text_heads" and "activation", which no shape shows, where they are known."""
    if "architecture" in ours:
        return {key: ours["architecture"][key] for key in ("heads", "text_heads", "activation")}
    for config in configs:
        try:
            content = json.loads(config.read_text(encoding="utf-8"))
        except ValueError as error:
            raise WeightsError(f"{config} is not readable as JSON: {error}") from error
        if "model_cfg" in content:
            return read_open_clip_hints(content["model_cfg"])
        if "vision_config" in content:
            return read_huggingface_hints(content)
    return {"activation": "gelu"} if file.stem in GELU_FILES else {}


def read_open_clip_hints(model: dict[str, Any]) -> dict[str, Any]:
    """Read the hints in the "model_cfg" of an open_clip_config.json."""
    hints = {"activation": "quick_gelu" if model.get("quick_gelu") else "gelu"}
    vision, text = model.get("vision_cfg", {}), model.get("text_cfg", {})
    if {"width", "head_width"} <= vision.keys():
        hints["heads"] = vision["width"] // vision["head_width"]
    if "heads" in text:
        hints["text_heads"] = text["heads"]
    return hints


def read_huggingface_hints(config: dict[str, Any]) -> dict[str, Any]:
    """Read the hints in the config.json of transformers' CLIP; what it leaves out is ViT-B/32's."""
    vision, text = config["vision_config"], config.get("text_config", {})
    return {
        "activation": vision.get("hidden_act", "quick_gelu"),
        "heads": vision.get("num_attention_heads", 12),
        "text_heads": text.get("num_attention_heads", 8),
    }


def infer_architecture(
    params: dict[Path, np.ndarray],
    *,
    heads: int | None = None,
    text_heads: int | None = None,
    activation: str = "quick_gelu",
) -> Architecture:
    """Read the sizes from the shapes of CLIP's parameters.

    Heads are 64 wide unless their number is given.

    Raises:
        WeightsError: if the shapes are not those of a CLIP with a ViT on square images.
    """
    misshapen = [
        f"{'/'.join(path)} {params[path].shape}, not of {dimensions} dimensions"
        for path, dimensions in DIMENSIONS.items()
        if params[path].ndim != dimensions
    ]
    raise_problems({"misshapen": misshapen})
    width = params["video", "class_embedding"].shape[0]
    patch = math.isqrt(params["video", "patches", "kernel"].shape[1] // 3)
    side = math.isqrt(max(params["video", "position_embedding"].shape[0] - 1, 0))
    context_length, text_width = params["text", "position_embedding"].shape
    try:
        return Architecture(
            embed_dim=params["video", "projection"].shape[1],
            image_size=side * patch,
            patch=patch,
            width=width,
            depth=find_depth(params, "video"),
            heads=heads or width // HEAD_WIDTH,
            text_width=text_width,
            text_depth=find_depth(params, "text"),
            text_heads=text_heads or text_width // HEAD_WIDTH,
            vocab_size=params["text", "token_embedding"].shape[0],
            context_length=context_length,
            activation=activation,
        )
    except ValueError as error:
        raise WeightsError(
            f"this CLIP cannot be built: {error} (the arrays do not show the number of heads; a "
            "config.json beside the file does)"
        ) from error
