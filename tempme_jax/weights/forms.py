"""Forms that arrays have in other layouts, and the entries that layouts consist of."""

import dataclasses
import re
from collections.abc import Callable, Iterable

import numpy as np

from tempme_jax.adapters.base import Path
from tempme_jax.networks.architecture import Architecture
from tempme_jax.weights.naming import Arrays


@dataclasses.dataclass(frozen=True)
class Form:
    """A form of an array in another layout: `ours` reads it; `theirs`, its inverse, writes it."""

    ours: Callable[[np.ndarray], np.ndarray]
    theirs: Callable[[np.ndarray], np.ndarray]


def flatten_convolution(kernel: np.ndarray) -> np.ndarray:
    """Turn a kernel [d, 3, p, p] into [d, p * p * 3], which multiplies flattened patches."""
    _, colours, height, width = kernel.shape
    if colours != 3 or height != width:
        raise ValueError(f"the patches of {kernel.shape} are not square or not RGB")
    return kernel.transpose(0, 2, 3, 1).reshape(kernel.shape[0], -1)


def unflatten_convolution(kernel: np.ndarray) -> np.ndarray:
    """Turn a kernel [d, p * p * 3] into that of a convolution, [d, 3, p, p]."""
    patch = round((kernel.shape[1] / 3) ** 0.5)
    return kernel.reshape(-1, patch, patch, 3).transpose(0, 3, 1, 2)


def flatten_video_convolution(kernel: np.ndarray) -> np.ndarray:
    """Turn a kernel [d, 3, 1, p, p], of one frame, into [d, p * p * 3]."""
    if kernel.shape[2] != 1:
        raise ValueError(f"the patches of {kernel.shape} are of more than one frame")
    return flatten_convolution(kernel[:, :, 0])


SAME = Form(lambda a: a, lambda a: a)
# Training with shards of parameters (FSDP) makes arrays of one number of scalars.
SCALAR = Form(lambda a: a.reshape(()), lambda a: a)
TURNED = Form(np.transpose, np.transpose)
CONVOLUTION = Form(flatten_convolution, unflatten_convolution)
VIDEO_CONVOLUTION = Form(flatten_video_convolution, lambda a: unflatten_convolution(a)[:, :, None])
CLIP_POSITION = Form(lambda a: a.reshape(a.shape[1], a.shape[3]), lambda a: a[None, :, None, :])


@dataclasses.dataclass(frozen=True)
class LayoutEntry:
    """A parameter in a file: its path, its names there (several for a split one), its form."""

    path: Path
    names: tuple[str, ...]
    form: Form
    optional: bool = False

    def read(self, arrays: Arrays) -> np.ndarray:
        """Return the parameter, float32, from the arrays of the file."""
        parts = [arrays[name] for name in self.names]
        stored = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return np.asarray(self.form.ours(stored), dtype=np.float32, order="C")

    def write(self, parameter: np.ndarray) -> Arrays:
        """Return the arrays of the file, contiguous, for the parameter."""
        stored = self.form.theirs(np.asarray(parameter))
        parts = [stored] if len(self.names) == 1 else np.split(stored, len(self.names))
        return {n: np.array(part, order="C") for n, part in zip(self.names, parts, strict=True)}


def spread(name: str) -> tuple[str, ...]:
    """Return the names that a name with braces stands for, of arrays that we stack.

    >>> spread("attn.{q,v}_bias"), spread("attn.weight")
    (('attn.q_bias', 'attn.v_bias'), ('attn.weight',))
    """
    parts = re.split(r"\{(.*)\}", name)
    if len(parts) == 1:
        return (name,)
    before, inside, after = parts
    return tuple(before + part + after for part in inside.split(","))


@dataclasses.dataclass(frozen=True)
class Family:
    """Backbones of one kind, and how their arrays lie in files.

    The depths are the numbers of blocks that the entries of a file depend on.

    Attributes:
        name: its name for people.
        backbones: names of its networks, see `networks.backbones`.
        layouts: names of the layouts of other programs.
        mark: path of a parameter that only this family has, by which our own files are told.
        find_depths: returns the depths of a file, by its layout and the names in it.
        get_depths: returns the depths of an architecture.
        list_entries: lists every parameter that a file in a layout can hold, by its depths.
        drop_useless: returns the arrays of a layout without those that no model needs.
        fit: returns the parameters of a backbone, by those of a file, their architecture, and the
            name of the backbone.
        explain: raises an error that says what else a file is, by all its names and the extra ones.
    """

    name: str
    backbones: tuple[str, ...]
    layouts: tuple[str, ...]
    mark: str
    find_depths: Callable[[str, Iterable[str]], dict[str, int]]
    get_depths: Callable[[Architecture], dict[str, int]]
    list_entries: Callable[[str, dict[str, int]], list[LayoutEntry]]
    drop_useless: Callable[[str, Arrays], Arrays]
    fit: Callable[[dict[Path, np.ndarray], Architecture, str], dict[Path, np.ndarray]]
    explain: Callable[[set[str], set[str]], None] = lambda names, extra: None


def count_blocks(prefix: str, names: Iterable[str]) -> int:
    """Count blocks by the highest number behind `prefix`."""
    return max(list_blocks(prefix, names), default=-1) + 1


def list_blocks(prefix: str, names: Iterable[str], behind: str = "") -> set[int]:
    """List the numbers of blocks: those behind `prefix`, with `behind` behind them."""
    pattern = re.compile(re.escape(prefix) + r"(\d{1,3})\b" + re.escape(behind))
    return {int(m[1]) for name in names if (m := pattern.match(name))}


def find_depth(params: Iterable[Path], tower: str, block: str = "block") -> int:
    """Return the number of blocks of a tower among the parameters."""
    return count_blocks(f"{tower}/{block}_", map("/".join, params))
