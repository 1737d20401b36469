"""What tempme_jax writes about a model into the metadata of a safetensors file."""

from typing import Any, NotRequired, TypedDict

from tempme_jax.fields import FieldError, parse_fields


class SavedArchitecture(TypedDict):
    """What no array shows of an architecture."""

    heads: int
    text_heads: int
    activation: str
    mean: NotRequired[list[float]]
    std: NotRequired[list[float]]
    tokenizer: NotRequired[str]


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


class SavedModel(TypedDict, total=False):
    """What tempme_jax writes about a model into the metadata of its file."""

    architecture: SavedArchitecture
    settings: SavedSettings


# Where there is a method, a file of every version has these.
WITH_METHOD = ("method", "options", "num_frames", "max_words")


def read_saved(text: str) -> SavedModel:
    """Read the description of a model, of JSON; raise a FieldError if it is damaged."""
    saved = parse_fields(text, SavedModel, "its metadata")
    settings = saved.get("settings", {})
    missing = [name for name in WITH_METHOD if name not in settings]
    if settings and missing:
        raise FieldError(f"its metadata: the field settings.{missing[0]} is missing")
    return saved
