"""Convert files of PyTorch to safetensors files, without PyTorch."""

import os
import pathlib
from collections.abc import Sequence

import numpy as np

from tempme_jax.adapters.base import Path
from tempme_jax.networks.architecture import Architecture
from tempme_jax.networks.backbones import make_network
from tempme_jax.parameters import find_shapes
from tempme_jax.weights.errors import WeightsError
from tempme_jax.weights.files import (
    ASSUMED,
    Interpretation,
    interpret,
    save_weights,
)
from tempme_jax.weights.hub import find_configs
from tempme_jax.weights.layouts import check_params
from tempme_jax.weights.saved import SHARDS, SavedModel, read_safetensors
from tempme_jax.weights.torch_files import TorchFile, TorchFileError, open_torch_file

# What open_clip's training writes into a checkpoint.
OF_OPEN_CLIP = {"epoch", "name", "state_dict"}


def convert_file(
    source: str | os.PathLike,
    target: str | os.PathLike,
    *,
    activation: str | None = None,
    layout: str | None = None,
    overwrite: bool = False,
    leave_out: Sequence[str] = (),
) -> list[str]:
    """Write the weights of a file, float32, with their architecture, to a safetensors file.

    Args:
        source: a `.safetensors` file, or the index of several (`.safetensors.index.json`), or a
            file of PyTorch: `.pt`, `.pth`, `.bin` or any other.
        target: path of the new file, ending in .safetensors.
        activation: activation of the MLPs, in place of what the config beside the source says.
        layout: layout of the target; None = that of the source.
        overwrite: whether a file at `target` may be replaced.
        leave_out: names of arrays, or their beginnings before a dot, that are not read, such as
            "transformerClip" of CLIP4Clip.

    Returns:
        What was assumed or left out, one sentence each.

    Raises:
        FileNotFoundError: if there is no source.
        FileExistsError: if there is a target, and it may not be replaced.
        ValueError: if the target does not end in .safetensors.
        WeightsError: if the arrays are not a backbone's, have no place in the layout, if the
            config asks for what tempme_jax does not compute, or if `activation` is needed.
        TorchFileError: if the file cannot be read, or asks for more than values.
    """
    source, target = pathlib.Path(source), pathlib.Path(target)
    if not source.is_file():
        raise FileNotFoundError(f"there is no file {source}")
    if target.suffix != ".safetensors":
        raise ValueError(f"the target must end in .safetensors, not {target.name!r}")
    if target.exists() and not overwrite:
        raise FileExistsError(f"{target} exists; give another name, or allow to overwrite it")
    file, ours = open_source(source)
    told = activation or find_activation(file)
    read = interpret(source, file.arrays, ours, find_configs(source), told, leave_out)
    refuse_to_assume(source, read, file)
    settings = dict(ours.get("settings", {}))
    params, layout = read.params, layout or read.layout
    try:
        check_backbone(params, read.arch)
        save_weights(
            target, params, read.arch, layout=layout, settings=settings, vocabulary=read.vocabulary
        )
    except WeightsError as error:
        raise WeightsError(f"{source}: {error}") from error
    return list_remarks(read, file, leave_out)


def open_source(source: pathlib.Path) -> tuple[TorchFile, SavedModel]:
    """Return the arrays of a file, and tempme_jax's description of the model in it.

    Raises:
        WeightsError, TorchFileError: if the file cannot be read; it says why.
    """
    if source.name.endswith((".safetensors", SHARDS)):
        arrays, ours = read_safetensors(source)
        return TorchFile(arrays), ours
    file = open_torch_file(source)
    refuse_without_tensors(source, file)
    return file, {}


def refuse_to_assume(source: pathlib.Path, read: Interpretation, file: TorchFile) -> None:
    """Raise a WeightsError that asks for the activation, where an assumption may well be wrong."""
    if not read.evidence and read.layout == "openai" and is_of_open_clip(file):
        raise WeightsError(
            f"{source}: this looks like a checkpoint of open_clip's training, which does not tell "
            "the activation of the MLPs; say --activation gelu (most models) or --activation "
            "quick_gelu (those with quickgelu in their name, MetaCLIP, DFN, and what began with "
            "OpenAI's weights)"
        )


def refuse_without_tensors(source: pathlib.Path, file: TorchFile) -> None:
    """Raise a TorchFileError if a file holds values of some kind, but no tensors among them."""
    others = sorted(file.description.stand_ins)
    if not file.arrays and others:
        raise TorchFileError(
            f"{source}: holds no tensors outside of values of {', '.join(others[:4])!s:.200}; save "
            "the weights alone: torch.save(model.state_dict(), path)"
        )


def find_activation(file: TorchFile) -> str | None:
    """Return the activation that the modules of a TorchScript archive tell; None if they do not.

    OpenAI's archives are of this kind.
    """
    last = {name.rpartition(".")[2] for name in file.description.modules}
    if "QuickGELU" in last:
        return "quick_gelu"
    return "gelu" if "GELU" in last else None


def is_of_open_clip(file: TorchFile) -> bool:
    """Return whether a file looks like a checkpoint of open_clip's training."""
    keys = file.description.keys
    parallel = "module." in file.prefix or any(n.startswith("module.") for n in file.arrays)
    return keys >= OF_OPEN_CLIP or parallel


def list_remarks(read: Interpretation, file: TorchFile, leave_out: Sequence[str]) -> list[str]:
    """List what was assumed or left out, in sentences."""
    remarks, arrays, described = [], file.arrays, file.description
    if described.others:
        remarks.append(
            f"The file holds several models: {described.taken!r} was taken, "
            f"{', '.join(map(repr, described.others))} left out; to convert another, save it alone."
        )
    if not read.evidence:
        remarks.append(f"{ASSUMED[0].upper()}{ASSUMED[1:]}; --activation gelu replaces it.")
    if leave_out:
        remarks.append(f"Left out: {', '.join(leave_out)}.")
    bias = next((a for n, a in arrays.items() if n.rpartition(".")[2] == "logit_bias"), None)
    if bias is not None and ("logit_bias",) not in read.params:
        remarks.append("Left out: logit_bias, which moves all scores alike and changes no rank.")
    return remarks


def check_backbone(params: dict[Path, np.ndarray], arch: Architecture) -> None:
    """Raise a WeightsError unless the backbone's parameters are all there, in their shapes."""
    expected = find_shapes(make_network(arch), 1)
    own = {path: a for path, a in params.items() if path in expected}
    check_params(own, expected, may_lack=set())
