"""Read safetensors files, one or several shards, and what tempme_jax writes into their metadata."""

import collections
import os
import pathlib
from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

import numpy as np
import safetensors

from tempme_jax.fields import FieldError, parse_fields
from tempme_jax.weights.errors import OnlyAdapterError, WeightsError, raise_problems

# The key in a safetensors file's metadata where tempme_jax describes the model.
METADATA = "tempme_jax"
# The key of the description of a file that holds an adapter alone, see `adapter_files`.
ADAPTER = "tempme_jax_adapter"
# How the name of an index of shards ends.
SHARDS = ".safetensors.index.json"


class SavedArchitecture(TypedDict):
    """What no array shows of an architecture."""

    heads: int
    text_heads: int
    activation: str
    mean: NotRequired[list[float]]
    std: NotRequired[list[float]]
    resize: NotRequired[str]
    tokenizer: NotRequired[str]
    # Some backbones' arrays do not show them.
    image_size: NotRequired[int]
    embed_dim: NotRequired[int]


class SavedDrawn(TypedDict):
    """What was drawn at random."""

    seed: int
    paths: list[list[str]]


class SavedSettings(TypedDict, total=False):
    """The settings of a model that tempme_jax saved; see `Weights`."""

    method: str
    options: dict[str, Any]
    given: dict[str, Any]
    folded: bool
    num_frames: int
    max_words: int
    drawn: SavedDrawn
    # The learned temperature of late interaction, of a model that was trained with it.
    tau: float
    # Where the method comes from, if not from the package. They are never run because of this.
    plugins: list[str]
    base: str
    trained: "TrainingFacts | None"


class TrainingFacts(TypedDict):
    """What a training says of the model that it made: the data, the protocol and the scores.

    Attributes:
        dataset: name of the data set.
        measured: on what it was measured, and by which protocol, in words.
        scores: the measures, in percent or ranks, by direction, such as "text_to_video", or of
            "answers".
        seed: seed of the training.
        step: the step of the checkpoint.
    """

    dataset: str
    measured: str
    scores: dict[str, dict[str, float]]
    seed: int
    step: int


class SavedModel(TypedDict, total=False):
    """What tempme_jax writes about a model into the metadata of its file."""

    architecture: SavedArchitecture
    settings: SavedSettings
    # The content of a tokenizer that does not come with the package, see `text.from_json`.
    vocabulary: str


class ShardIndex(TypedDict):
    """An index of shards: the name of the shard that holds an array, by the array's name."""

    weight_map: dict[str, str]


# Where there is a method, a file of every version has these.
WITH_METHOD = ("method", "options", "num_frames", "max_words")


def read_saved(text: str) -> SavedModel:
    """Read the description of a model, of JSON; raise a FieldError if it is damaged."""
    saved: SavedModel = parse_fields(text, SavedModel, "its metadata")
    if settings := saved.get("settings"):
        require_method(settings)
    return saved


def require_method(settings: SavedSettings) -> None:
    """Raise a FieldError unless settings are those of a method."""
    missing = [name for name in WITH_METHOD if name not in settings]
    if missing:
        raise FieldError(f"its metadata: the field settings.{missing[0]} is missing")


def read_safetensors(file: pathlib.Path) -> tuple[dict[str, np.ndarray], SavedModel]:
    """Return the arrays of a safetensors file, and tempme_jax's description of the model in it.

    The file may be an index of shards, which are read from beside it.
    """
    if file.name.endswith(SHARDS):
        return read_shards(file), {}
    if file.suffix != ".safetensors":
        raise WeightsError(
            f"{file} is not a .safetensors file; convert a .pt or .bin file with "
            f"`tempme convert {file} {file.with_suffix('.safetensors').name}`"
        )
    try:
        with safetensors.safe_open(file, "numpy") as opened:
            metadata = opened.metadata() or {}
            if ADAPTER in metadata:
                raise OnlyAdapterError(
                    f"{file} holds an adapter alone, without its base model; open both with "
                    f"tempme_jax.load(BASE, adapter={str(file)!r})"
                )
            ours = read_saved(metadata.get(METADATA, "{}"))
            return {name: opened.get_tensor(name) for name in opened.keys()}, ours
    # AttributeError and TypeError: NumPy has no such dtype, as for numbers of 8 bits.
    except (safetensors.SafetensorError, FieldError, AttributeError, TypeError) as error:
        raise WeightsError(f"{file} is not a readable safetensors file: {error}") from error


def read_shards(index: pathlib.Path) -> dict[str, np.ndarray]:
    """Return the arrays of all shards that an index names.

    Raises:
        WeightsError: if a shard is missing or cannot be read, or holds other arrays than the index
            says.
    """
    arrays: dict[str, np.ndarray] = {}
    for shard, names in list_shards(index).items():
        if not index.with_name(shard).is_file():
            raise WeightsError(
                f"{index} names the file {shard}, which is not beside it; copy all of its files"
            )
        held = read_safetensors(index.with_name(shard))[0]
        try:
            raise_problems(
                {
                    f"of {shard} missing": names - held.keys(),
                    f"in {shard} that it does not name": held.keys() - names,
                }
            )
        except WeightsError as error:
            raise WeightsError(f"{index}: {error}") from error
        arrays |= held
    return arrays


def list_shards(index: pathlib.Path) -> Mapping[str, set[str]]:
    """Return the names of the arrays of each shard that an index names, by the shard's name.

    Raises:
        WeightsError: if it is no index, or names what is not a safetensors file beside it.
    """
    try:
        of_arrays = parse_fields(index.read_bytes(), ShardIndex, index.name)["weight_map"]
    except FieldError as error:
        raise WeightsError(f"{index} is not a readable index of shards: {error}") from error
    shards: dict[str, set[str]] = collections.defaultdict(set)
    for array, shard in of_arrays.items():
        # Of neither system may a name leave the folder.
        if {"/", "\\", ":", "\0"} & set(shard) or os.path.splitext(shard)[1] != ".safetensors":
            raise WeightsError(
                f"{index} names {shard!r:.99}, which is not the name of a .safetensors file beside "
                "it"
            )
        shards[shard].add(array)
    if not shards:
        raise WeightsError(f"{index} names no shards")
    return shards
