"""The header of an index: it describes the model, so any other model can be refused."""

import dataclasses
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

from tempme_jax.fields import check_type
from tempme_jax.fingerprint import describe_model
from tempme_jax.loading import load
from tempme_jax.search.dials import DialFields, turn_to_header
from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.runtimes import RuntimeFields, describe_runtime
from tempme_jax.version import __version__
from tempme_jax.weights.unreachable import OutOfReachError

if TYPE_CHECKING:  # these take long to import, and a search may do without them
    from tempme_jax.model import Model
    from tempme_jax.video.windows import Sampling


class IndexedModel(TypedDict):
    """The field "model" of a header, which `fingerprint.describe_model` makes."""

    method: str
    num_frames: int
    weights: str


class SamplingFields(TypedDict):
    """The field "sampling" of a header: those of `Sampling`."""

    frames: int
    fps: float
    overlap: float


class FrameFields(TypedDict):
    """The field "per_frame" of a header: windows keep vectors of their frames.

    Attributes:
        frames: number of frames of a window.
        tau: temperature of late interaction that the model has learned; 0 if it has not.
        scale: that of the model's logits, by which its similarities spread.
    """

    frames: int
    tau: float
    scale: float


class HeaderFields(TypedDict):
    """The fields of a header that any version has."""

    source: dict[str, Any]
    model: IndexedModel
    sampling: SamplingFields
    runtime: NotRequired[RuntimeFields]
    dial: NotRequired[DialFields]
    per_frame: NotRequired[FrameFields]


def check_header(header: Mapping[str, Any], uri: str) -> None:
    """Raise a VideoIndexError if a field of a header is missing or has another type."""
    try:
        check_type("", header, HeaderFields)
    except ValueError as error:
        raise VideoIndexError(
            f"the header of the index {uri} is damaged: {error}; rebuild it with `tempme index "
            "FOLDER --rebuild`"
        ) from error


def make_header(
    model: "Model", source: Mapping[str, Any], sampling: "Sampling", *, per_frame: bool = False
) -> dict[str, Any]:
    """Make the header of an index, of JSON's types.

    Args:
        model: embeds.
        source: the arguments of `load` that open the model again; empty if a Model was passed.
        sampling: how videos are cut into windows.
        per_frame: whether windows keep vectors of their frames.

    Raises:
        VideoIndexError: the model has no vectors of frames.
    """
    frames: dict[str, FrameFields] = {}
    if per_frame:
        if model.frame_problem:
            raise VideoIndexError(
                f"an index with vectors of frames cannot be made: {model.frame_problem}; leave "
                "--per-frame out, or choose another model or method"
            )
        frames["per_frame"] = {
            "frames": model.num_frames,
            "tau": float(model.tau),
            "scale": float(model.network.compute_scale(model.params)),
        }
    return {
        "version": __version__,
        "source": dict(source),
        "model": describe_model(model),
        "sampling": dataclasses.asdict(sampling),
        **describe_runtime(model),
        **frames,
    }


def describe_source(model: str | os.PathLike, **options: Any) -> dict[str, Any]:
    """Return the arguments of `load` that open a model again, from any current folder.

    `options` are other arguments of `load`; those that are None are left out.
    """
    path = Path(model).expanduser()
    # A name could be that of a repository and of a folder; load() prefers the folder too.
    name = str(path.resolve()) if path.exists() else os.fspath(model)
    return {"source": name} | {key: value for key, value in options.items() if value is not None}


def open_model(header: Mapping[str, Any], uri: str) -> "Model":
    """Open the model that an index was built with.

    Raises:
        VideoIndexError: its place is not known, it cannot be opened, or its weights have changed.
    """
    if not header["source"]:
        raise VideoIndexError(
            f"the index {uri} was built with a Model that a program passed, so the place of its "
            "weights is not known; pass the model"
        )
    try:
        model = turn_to_header(load(**header["source"]), header)
    except OutOfReachError as error:
        raise VideoIndexError(
            f"the index {uri} needs its model, but {error.problem}.\n\n{error.steps}"
        ) from error
    except (ValueError, OSError) as error:
        raise VideoIndexError(
            f"the model of the index {uri}, {header['source']['source']}, cannot be opened: "
            f"{error}. If its weights have moved, name their new place with --model"
        ) from error
    refuse_other_model(header, model, uri)
    return model


def refuse_other_model(header: Mapping[str, Any], model: "Model", uri: str) -> None:
    """Raise a VideoIndexError that lists the differences if an index has another model."""
    refuse_other_description(header, describe_model(model), uri)


def refuse_other_description(
    header: Mapping[str, Any], description: Mapping[str, Any], uri: str
) -> None:
    """Do as `refuse_other_model` by what `describe_model` returned."""
    differs = list_differences(header["model"], description)
    if differs:
        raise VideoIndexError(
            f"the index {uri} was built with another model ({', '.join(differs)}). Vectors from "
            "different models cannot be compared. Use the model that it was built with "
            f"({header['source'].get('source', 'which a program passed')}), or rebuild it: "
            "`tempme index FOLDER --rebuild --model MODEL`"
        )


def list_differences(made: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """List the differences between two descriptions of models.

    Settings that only one of them has are ignored: another version of this package wrote it.
    """
    found = []
    for name in made.keys() & given.keys():
        if isinstance(made[name], dict):
            found += list_differences(made[name], given[name])
        elif made[name] != given[name]:
            hashed = name == "weights"  # hashes tell nothing
            found.append("other weights" if hashed else f"{name} {made[name]}, not {given[name]}")
    return sorted(found)


def refuse_other_method(header: Mapping[str, Any], method: str | None, uri: str) -> None:
    """Raise a VideoIndexError if an index has another method; None allows any."""
    made = header["model"]["method"]
    if method not in (None, made):
        raise VideoIndexError(
            f"the index {uri} was built with method {made}, not {method}; leave --method out, or "
            "rebuild the index with --rebuild"
        )


def refuse_other_sampling(header: Mapping[str, Any], sampling: "Sampling", uri: str) -> None:
    """Raise a VideoIndexError if an index cuts videos into other windows."""
    made = type(sampling)(**header["sampling"])
    if made != sampling:
        raise VideoIndexError(
            f"the index {uri} has windows of {made.frames} frames at {made.fps:g} per second with "
            f"an overlap of {made.overlap:g}, not of {sampling.frames} at {sampling.fps:g} with "
            f"{sampling.overlap:g}; leave these options out, or rebuild the index with --rebuild"
        )


def refuse_without_frames(header: Mapping[str, Any], uri: str) -> None:
    """Raise a VideoIndexError if the windows of an index keep no vectors of frames."""
    if "per_frame" not in header:
        source = header["source"].get("source")
        named = f" --model {shlex.quote(str(source))}" if source else ""  # or it would be CLIP
        raise VideoIndexError(
            f"the index {uri} has no vectors of frames, and only embedding all of its videos again "
            f"gives it these: `tempme index FOLDER --rebuild --per-frame{named}`. Without "
            "--per-frame, it is brought up to date as it is"
        )
