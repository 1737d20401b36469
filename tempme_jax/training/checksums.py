"""What a checkpoint notes beside its arrays: the progress, and a hash of everything.

What the disk returns is compared with it, so a changed bit is noticed wherever it is.
"""

import dataclasses
import hashlib
import json
from typing import Any

import jax
import numpy as np

from tempme_jax.fields import check_type


@dataclasses.dataclass(frozen=True)
class Progress:
    """The progress of a training; each checkpoint holds one.

    Attributes:
        step: steps made, which is also the place in the data.
        seconds: seconds of training so far.
        best: the best R-Sum so far, None before the first evaluation.
        best_step: the step of the best R-Sum.
    """

    step: int = 0
    seconds: float = 0.0
    best: float | None = None
    best_step: int = 0


def describe_progress(progress: Progress, trees: dict[str, Any]) -> dict[str, Any]:
    """Return what a checkpoint notes beside its arrays: the progress, and a hash of everything."""
    about = dataclasses.asdict(progress)
    about["hashes"] = {name: compute_hashes(tree) for name, tree in trees.items()}
    return about | {"digest": compute_digest(about)}


def check_progress(about: Any, step: int) -> tuple[Progress, dict[str, dict[str, str]] | None]:
    """Return the progress that a checkpoint notes, and its hashes (None in version 0.1).

    Raises:
        ValueError: if it is not what was saved at this step.
    """
    about = dict(check_type("progress", about, dict[str, Any]))
    digest, hashes = about.pop("digest", None), None
    if digest is not None or "hashes" in about:
        if digest != compute_digest(about):
            raise ValueError("its progress has changed")
        hashes = check_type("hashes", about.pop("hashes", None), dict[str, dict[str, str]])
    progress = check_type("progress", about, Progress)
    if progress.step != step:
        raise ValueError(f"its progress is that of step {progress.step}")
    return progress, hashes


def compute_digest(about: dict[str, Any]) -> str:
    """Return a hash of values that JSON can hold."""
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def compute_hashes(tree: Any) -> dict[str, str]:
    """Return the SHA-256 of every array of a tree, with its shape and dtype, by its path."""
    return {
        jax.tree_util.keystr(path): hash_array(np.asarray(leaf))
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def hash_array(array: np.ndarray) -> str:
    """Return the SHA-256 of an array, its shape and its dtype."""
    found = hashlib.sha256(f"{array.dtype} {array.shape}".encode())
    found.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def check_arrays(name: str, tree: Any, hashes: dict[str, str]) -> None:
    """Raise a ValueError unless the arrays of a tree have these hashes."""
    found = compute_hashes(tree)
    changed = sorted(path for path in found.keys() | hashes.keys()
                     if found.get(path) != hashes.get(path))  # fmt: skip
    if changed:
        more = f" and {len(changed) - 1} more have" if len(changed) > 1 else " has"
        raise ValueError(f"{name}{changed[0]}{more} changed since they were saved")
