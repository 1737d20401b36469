"""Files of PyTorch made into safetensors files, without PyTorch."""

import os
import pathlib

import numpy as np

from tempme_jax.adapters.base import Path
from tempme_jax.networks.architecture import Architecture
from tempme_jax.networks.clip import Clip
from tempme_jax.parameters import shapes
from tempme_jax.weights.files import interpret, read_safetensors, save_weights
from tempme_jax.weights.hub import config_files
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
    """Writes the CLIP weights of a file, float32, with their architecture, to a safetensors file.

    Args:
        source: a `.safetensors` file, or a file of PyTorch: `.pt`, `.pth`, `.bin` or any other.
        target: where to.
        activation: of the MLPs, where neither the file nor a config beside it says so.
        layout: of the target; None: that of the source.
        overwrite: whether a file at `target` may be replaced.

    Raises:
        FileNotFoundError: if there is no source.
        FileExistsError: if there is a target, and it may not be replaced.
        WeightsError: if the arrays are not those of a CLIP, or have no place in the layout.
        TorchFileError: if the file cannot be read; UnsafeFileError: if it asks for more than
            tensors.
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
    found, params, arch = interpret(source, arrays, ours, config_files(source), activation)
    try:
        check_backbone(params, arch)
        save_weights(target, params, arch, layout=layout or found, settings=ours.get("settings"))
    except WeightsError as error:
        raise WeightsError(f"{source}: {error}") from error


def check_backbone(params: dict[Path, np.ndarray], arch: Architecture) -> None:
    """Raises a WeightsError unless CLIP's own parameters are all there, in their shapes."""
    expected = shapes(Clip(arch), 1)
    of_clip = {path: a for path, a in params.items() if path in expected}
    check_params(of_clip, expected, may_lack=set())
