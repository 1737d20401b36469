"""Convert files of PyTorch to safetensors files, without PyTorch."""

import json
import os
import pathlib
from typing import Any

import numpy as np

from tempme_jax.adapters.base import Path
from tempme_jax.networks.architecture import Architecture
from tempme_jax.networks.clip import Clip
from tempme_jax.parameters import find_shapes
from tempme_jax.weights.files import interpret, read_safetensors, save_weights
from tempme_jax.weights.hub import find_configs
from tempme_jax.weights.layouts import WeightsError, check_params
from tempme_jax.weights.torch_files import read_torch_file


def convert_file(
    source: str | os.PathLike,
    target: str | os.PathLike,
    *,
    activation: str | None = None,
    layout: str | None = None,
    overwrite: bool = False,
) -> None:
    """Write the CLIP weights of a file, float32, with their architecture, to a safetensors file.

    Args:
        source: a `.safetensors` file, or a file of PyTorch: `.pt`, `.pth`, `.bin` or any other.
        target: path of the new file, ending in .safetensors.
        activation: activation of the MLPs, in place of what the config beside the source says.
        layout: layout of the target; None = that of the source.
        overwrite: whether a file at `target` may be replaced.

    Raises:
        FileNotFoundError: if there is no source.
        FileExistsError: if there is a target, and it may not be replaced.
        ValueError: if the target does not end in .safetensors.
        WeightsError: if the arrays are not those of a CLIP, have no place in the layout, or if
            the config asks for what tempme_jax does not compute.
        TorchFileError: if the file cannot be read, or asks for more than tensors.
    """
    source, target = pathlib.Path(source), pathlib.Path(target)
    if not source.is_file():
        raise FileNotFoundError(f"there is no file {source}")
    if target.suffix != ".safetensors":
        raise ValueError(f"the target must end in .safetensors, not {target.name!r}")
    if target.exists() and not overwrite:
        raise FileExistsError(f"{target} exists; give another name, or allow to overwrite it")
    if source.suffix == ".safetensors":
        arrays, ours = read_safetensors(source)
    else:
        arrays, ours = read_torch_file(source), {}
    configs = find_configs(source)
    found, params, arch = interpret(source, arrays, ours, configs, activation)
    try:
        check_backbone(params, arch)
        if "architecture" not in ours:
            check_configs(configs, arch, activation)
        save_weights(target, params, arch, layout=layout or found, settings=ours.get("settings"))
    except WeightsError as error:
        raise WeightsError(f"{source}: {error}") from error


def check_backbone(params: dict[Path, np.ndarray], arch: Architecture) -> None:
    """Raise a WeightsError unless CLIP's own parameters are all there, in their shapes."""
    expected = find_shapes(Clip(arch), 1)
    of_clip = {path: a for path, a in params.items() if path in expected}
    check_params(of_clip, expected, may_lack=set())


def check_configs(configs: list[pathlib.Path], arch: Architecture, activation: str | None) -> None:
    """Raise a WeightsError if a config.json of transformers' CLIP asks for something else.

    An `activation` that the user gave replaces the config's.
    """
    for config in configs:
        content = json.loads(config.read_text(encoding="utf-8"))
        if "vision_config" in content and (found := list_differences(content, arch, activation)):
            raise WeightsError(f"config.json sets {'; '.join(found)}")


def list_differences(
    content: dict[str, Any], arch: Architecture, activation: str | None
) -> list[str]:
    """Describe the fields of a transformers config that no array shows and that differ."""
    # Else transformers complains on import that there is no PyTorch, which nothing here needs.
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    from transformers import CLIPConfig  # takes a second to import

    described = CLIPConfig.from_dict(content)
    expected: dict[str, Any] = {"layer_norm_eps": 1e-5}
    if activation is None:
        expected["hidden_act"] = arch.activation
    return [
        f"{part}.{name}={getattr(config, name)!r}, but tempme_jax computes with {value!r}"
        for part in ("vision_config", "text_config")
        for config in (getattr(described, part),)
        for name, value in expected.items()
        if getattr(config, name) != value
    ]
