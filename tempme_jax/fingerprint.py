"""Describe a model by everything that changes its vectors, so any other one can be told from it."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # it imports JAX, which takes long
    from tempme_jax.model import Model

# How `video.pixels.make_square` makes frames.
RESIZES = {
    "crop": "short side, bicubic, centre crop",
    "squash": "both sides, bicubic",
    "squash_bilinear": "both sides, bilinear",
}


def describe_model(model: "Model") -> dict[str, Any]:
    """Describe a model by everything that changes its vectors, in JSON's types."""
    if model.is_exported:  # that of an exported file, which holds the description
        exported: Any = model
        return exported.description
    options = dataclasses.asdict(model.adapter) | dataclasses.asdict(model.reducer)
    architecture = dataclasses.asdict(model.arch)
    preprocessing: dict[str, Any] = {"resize": RESIZES[architecture.pop("resize")]}
    for name in ("mean", "std"):
        colours = np.array(architecture.pop(name), np.float32)
        preprocessing[name] = [round(float(value), 8) for value in colours]
    about = {
        "method": model.method,
        "num_frames": model.num_frames,
        "max_words": model.max_words,
        "architecture": architecture,
        "options": options,
        "preprocessing": preprocessing,
        "weights": hash_parameters(model),
    }
    if model.vocabulary:
        from tempme_jax.text.from_json import hash_vocabulary

        about["vocabulary"] = hash_vocabulary(model.vocabulary)
    return json.loads(json.dumps(about))


def hash_parameters(model: "Model") -> str:
    """Hash the parameters of a model; return 64 hexadecimal digits.

    Parameters that were drawn at random count by their seed, since a GPU and a CPU draw numbers
    that differ in their last bits.
    """
    import jax

    from tempme_jax.parameters import flatten

    digest, flat = hashlib.sha256(), flatten(model.params)
    for path in sorted(flat):
        digest.update(f"{'/'.join(path)} {flat[path].shape}".encode())
        if path in model.drawn.paths:
            digest.update(f"drawn {model.drawn.seed}".encode())
        else:
            digest.update(np.ascontiguousarray(jax.device_get(flat[path])).data)
    return digest.hexdigest()


def compute_fingerprint(description: Mapping[str, Any]) -> str:
    """Hash the description of a model; return 64 hexadecimal digits.

    >>> compute_fingerprint({"method": "clip", "num_frames": 4})[:8]
    '115cd89e'
    """
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()
