"""The description of a model that an exported file carries."""

import dataclasses
from typing import Any, NotRequired, TypedDict

from tempme_jax.checks import require_one_of
from tempme_jax.fields import FieldError, check_type, parse_json
from tempme_jax.networks.architecture import Architecture

# The key in a file's metadata; a safetensors file of tempme_jax has the same one.
METADATA = "tempme_jax"
# Raised when a file can no longer be read by what was written for earlier ones.
FORMAT = 1
PRECISIONS = ("float32", "int8")


class Agreement(TypedDict):
    """How the vectors of an exported file agree with those of the model, on drawn inputs.

    Attributes:
        largest: the largest difference of two numbers.
        cosine: the smallest cosine of two vectors.
    """

    largest: float
    cosine: float


class ExportedModel(TypedDict):
    """What is known about an exported model.

    Attributes:
        format: `FORMAT`.
        precision: one of `PRECISIONS`.
        fingerprint: of the description, see `fingerprint.compute_fingerprint`.
        description: of the model, see `fingerprint.describe_model`.
        architecture: the fields of its `Architecture`.
        unit_videos: whether the vectors of videos are made unit length before they are compared.
        scale: what the loss multiplies cosines by.
        agreement: by tower; empty while it is not known.
        versions: of the packages that made the file.
        vocabulary: content of a tokenizer that lay with the weights, see `text.from_json`.
    """

    format: int
    precision: str
    fingerprint: str
    description: dict[str, Any]
    architecture: dict[str, Any]
    unit_videos: bool
    scale: float
    agreement: dict[str, Agreement]
    versions: dict[str, str]
    vocabulary: NotRequired[str]


class NotExportedError(ValueError):
    """A file is not an export of a model that this version can read."""


def read_about(text: str, file: object) -> ExportedModel:
    """Read the description in a file.

    Raises:
        NotExportedError: if there is none, it is damaged, or a later version wrote it.
    """
    again = "export the model again with `tempme export MODEL FILE.onnx`"
    if not text:
        raise NotExportedError(f"{file} was not made by tempme export; {again}")
    try:
        found = parse_json(text, "its metadata")
        if isinstance(found, dict) and found.get("format", FORMAT) != FORMAT:
            raise FieldError(
                f"it has format {found['format']!r:.20}, and this version reads {FORMAT}"
            )
        about = check_type("", found, ExportedModel)
        require_one_of(about["precision"], PRECISIONS, "precision")
        make_architecture(about)
    except (ValueError, TypeError) as error:
        raise NotExportedError(f"{file} cannot be read: {error}; {again}") from error
    return about


def make_architecture(about: ExportedModel) -> Architecture:
    """Return the sizes of an exported model."""
    names = {field.name for field in dataclasses.fields(Architecture)}
    fields = {name: value for name, value in about["architecture"].items() if name in names}
    return Architecture(**fields)
