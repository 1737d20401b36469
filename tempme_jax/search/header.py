"""What an index says of the model that made its vectors, so that it refuses any other one."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.traverse_util
import jax
import numpy as np

from tempme_jax.inputs import MEAN, STD
from tempme_jax.loading import load
from tempme_jax.model import Model
from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.indexing.windows import Sampling
from tempme_jax.version import __version__

# How frames become pixels: `video.resize_and_crop` and `inputs.normalise`.
PREPROCESSING = {
    "resize": "short side, bicubic, centre crop",
    "mean": [round(float(value), 8) for value in MEAN],
    "std": [round(float(value), 8) for value in STD],
}


def header_of(model: Model, source: Mapping[str, Any], sampling: Sampling) -> dict[str, Any]:
    """What stands at the head of an index; of JSON's types.

    Args:
        model: that embeds its windows.
        source: what `load` takes to open that model again, by its names; empty if it was handed
            over.
        sampling: how videos are cut into windows.
    """
    return {
        "version": __version__,
        "source": dict(source),
        "model": described(model),
        "sampling": {"frames": sampling.frames, "fps": sampling.fps, "overlap": sampling.overlap},
    }


def described(model: Model) -> dict[str, Any]:
    """What tells a model from others that embed differently; of JSON's types."""
    options = dataclasses.asdict(model.adapter) | dataclasses.asdict(model.reducer)
    about = {
        "method": model.method,
        "num_frames": model.num_frames,
        "max_words": model.max_words,
        "architecture": dataclasses.asdict(model.arch),
        "options": options,
        "preprocessing": PREPROCESSING,
        "weights": fingerprint(model),
    }
    return json.loads(json.dumps(about))


def fingerprint(model: Model) -> str:
    """A hash of the parameters, hexadecimal.

    What is learned and was drawn, not read, counts by its seed: the draws of a GPU and those of a
    CPU differ in their last bits.
    """
    digest = hashlib.sha256()
    flat = flax.traverse_util.flatten_dict(model.params)
    for path in sorted(flat):
        digest.update(f"{'/'.join(path)} {flat[path].shape}".encode())
        if path in model.drawn.paths:
            digest.update(f"drawn {model.drawn.seed}".encode())
        else:
            digest.update(np.ascontiguousarray(jax.device_get(flat[path])).data)
    return digest.hexdigest()


def source_of(model: str | os.PathLike, **options: Any) -> dict[str, Any]:
    """What `load` takes to open a model again, from wherever the program is started.

    Args:
        model: what `load` takes first.
        **options: others of its arguments; those that are None are left out.
    """
    path = Path(model).expanduser()
    # The name of a repository could be that of a folder; load() prefers the folder, too.
    name = str(path.resolve()) if path.exists() else os.fspath(model)
    return {"source": name} | {key: value for key, value in options.items() if value is not None}


def open_again(header: Mapping[str, Any], uri: str) -> Model:
    """The model that an index was made with.

    Raises:
        VideoIndexError: if it is not known, cannot be opened, or has other weights by now.
    """
    if not header["source"]:
        raise VideoIndexError(
            f"the index {uri} was made with a model that a program handed over, so that where its "
            "weights are is not known; give the model"
        )
    try:
        model = load(**header["source"])
    except (ValueError, OSError) as error:
        raise VideoIndexError(
            f"the model of the index {uri}, {header['source']['source']}, cannot be opened: "
            f"{error}. If its weights lie elsewhere now, give them with --model"
        ) from error
    refuse_other(header, model, uri)
    return model


def refuse_other(header: Mapping[str, Any], model: Model, uri: str) -> None:
    """Raises a VideoIndexError if an index was made with another model; it says what differs."""
    differs = differences(header["model"], described(model))
    if differs:
        raise VideoIndexError(
            f"the index {uri} was made with another model ({', '.join(differs)}), whose vectors "
            "mean nothing to this one. Search with the model that it was made with "
            f"({header['source'].get('source', 'which was handed over')}), or index anew: "
            "`tempme index FOLDER --rebuild --model MODEL`"
        )


def differences(made: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """Where two descriptions of models differ, in a few words each.

    What only one of them has is a setting that another version of this package has not.
    """
    found = []
    for name in made.keys() & given.keys():
        if isinstance(made[name], dict):
            found += differences(made[name], given[name])
        elif made[name] != given[name]:
            long = name == "weights"
            found.append("other weights" if long else f"{name} {made[name]}, not {given[name]}")
    return sorted(found)


def refuse_other_method(header: Mapping[str, Any], method: str | None, uri: str) -> None:
    """Raises a VideoIndexError if an index was made with another method; None is any."""
    made = header["model"]["method"]
    if method not in (None, made):
        raise VideoIndexError(
            f"the index {uri} was made with method {made}, not {method}; leave it out, or index "
            "anew with --rebuild"
        )


def refuse_other_sampling(header: Mapping[str, Any], sampling: Sampling, uri: str) -> None:
    """Raises a VideoIndexError if an index cuts videos into other windows."""
    made = Sampling(**header["sampling"])
    if made != sampling:
        raise VideoIndexError(
            f"the index {uri} has windows of {made.frames} frames at {made.fps:g} a second with an "
            f"overlap of {made.overlap:g}, not of {sampling.frames} at {sampling.fps:g} with "
            f"{sampling.overlap:g}; leave these out, or index anew with --rebuild"
        )
