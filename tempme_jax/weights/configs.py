"""Read all config files beside a file of weights: the architecture, the pixels, the tokenizer."""

import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tempme_jax.fields import FieldError, parse_json
from tempme_jax.weights.errors import WeightsError
from tempme_jax.weights.open_clip import OPEN_CLIP, read_open_clip
from tempme_jax.weights.sections import Description, Section
from tempme_jax.weights.siglip_files import is_of_siglip, read_siglip
from tempme_jax.weights.tokenizer_files import (
    read_added_tokens,
    read_merges,
    read_merges_file,
    read_special_tokens,
    read_tokenizer,
    read_tokenizer_config,
    read_vocabulary,
)
from tempme_jax.weights.transformers_files import CONFIG, read_config, read_preprocessor

# What transformers writes beside config.json: how pictures become pixels, and texts become ids.
PREPROCESSOR, PROCESSOR = "preprocessor_config.json", "processor_config.json"
MERGES = "merges.txt"
TOKENIZERS = {
    "tokenizer_config.json": read_tokenizer_config,
    "special_tokens_map.json": read_special_tokens,
    "added_tokens.json": read_added_tokens,
    "tokenizer.json": read_tokenizer,
    "vocab.json": read_vocabulary,
    MERGES: read_merges,
}
# The names of the config files that are read, where they lie beside the weights.
CONFIG_NAMES = (OPEN_CLIP, CONFIG, PREPROCESSOR, PROCESSOR, *TOKENIZERS)
# Fields of a config.json that describes a model of transformers; those of timm have others.
MARKS = (
    "vision_config", "text_config", "vision_config_dict", "text_config_dict", "model_type",
    "architectures", "auto_map", "projection_dim", "transformers_version",
)  # fmt: skip


def read_configs(
    configs: Sequence[pathlib.Path], layout: str, activation: str | None = None
) -> Description:
    """Read the config files beside a file with arrays in a layout.

    All must ask for what tempme_jax computes. Where two say the same differently, that of the
    library counts whose layout it is. An `activation` that the user gave replaces the configs'.

    Raises:
        WeightsError: if a file is not JSON, or a field has another type; it names both.
    """
    contents: dict[str, Any] = {
        config.name: read_merges_file(config) if config.name == MERGES else read_object(config)
        for config in configs
    }
    try:
        if layout == "siglip" or (not layout and is_of_siglip(contents)):
            return read_siglip(contents, activation)
        of_open_clip = [read_open_clip(contents[OPEN_CLIP])] if contents.get(OPEN_CLIP) else []
        if of_open_clip and layout != "huggingface" and not is_of_clip(contents):
            contents.pop(CONFIG, None)  # of a program around a model of open_clip
        of_transformers = list(read_transformers(contents, activation))
        described = [*of_open_clip, *of_transformers]
        if layout == "huggingface":
            described = [*of_transformers, *of_open_clip]
        found = described[0] if described else Description()
        for other in described[1:]:
            found.add(other)
        for name, read in TOKENIZERS.items():
            if name in contents:
                read(contents[name], found, name)
        return found
    except ValueError as error:
        raise WeightsError(str(error)) from error


def is_of_clip(contents: Mapping[str, Any]) -> bool:
    """Return whether the config.json is that of a CLIP of transformers."""
    return contents.get(CONFIG, {}).get("model_type") == "clip"


def read_transformers(
    contents: Mapping[str, dict[str, Any]], activation: str | None
) -> Iterator[Description]:
    """Yield what the files of transformers say of the model and of pixels."""
    if any(mark in contents.get(CONFIG, {}) for mark in MARKS):
        yield read_config(contents[CONFIG], activation)
    if PROCESSOR in contents:  # of transformers 5; before, it held no pixels
        whole = Section(f"{PROCESSOR}:", contents[PROCESSOR], Description(PROCESSOR))
        pixels = whole.get("image_processor", dict)
        whole.refuse_others({"processor_class"})
        yield whole.description
        if pixels is not None:
            yield read_preprocessor(pixels, PROCESSOR)
    if PREPROCESSOR in contents:
        yield read_preprocessor(contents[PREPROCESSOR], PREPROCESSOR)


def read_object(file: pathlib.Path) -> dict[str, Any]:
    """Return the object in a JSON file; raise a WeightsError if it holds none."""
    try:
        content = parse_json(file.read_bytes(), file.name)
    except FieldError as error:
        raise WeightsError(f"{file} is not readable as JSON: {error}") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{file} holds {content!r:.40}, not an object with fields")
    return content
