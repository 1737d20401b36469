"""Read all config files beside a file of weights: the architecture, the pixels, the tokenizer."""

import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from tempme_jax.fields import FieldError, check_type, parse_json
from tempme_jax.weights.errors import WeightsError
from tempme_jax.weights.open_clip import read_open_clip
from tempme_jax.weights.sections import Description
from tempme_jax.weights.tokenizer_files import (
    read_added_tokens,
    read_merges,
    read_merges_file,
    read_special_tokens,
    read_tokenizer,
    read_tokenizer_config,
    read_vocabulary,
)
from tempme_jax.weights.transformers_files import read_config, read_preprocessor

OPEN_CLIP, TRANSFORMERS = "open_clip_config.json", "config.json"
# What transformers writes beside config.json: how pictures become pixels, and texts become ids.
PREPROCESSORS = ("preprocessor_config.json", "processor_config.json")
TOKENIZER_CONFIG = "tokenizer_config.json"
MERGES = "merges.txt"
TOKENIZERS = {
    TOKENIZER_CONFIG: read_tokenizer_config,
    "special_tokens_map.json": read_special_tokens,
    "added_tokens.json": read_added_tokens,
    "tokenizer.json": read_tokenizer,
    "vocab.json": read_vocabulary,
    MERGES: read_merges,
}
# The names of the config files that are read, where they lie beside the weights.
CONFIG_NAMES = (OPEN_CLIP, TRANSFORMERS, *PREPROCESSORS, *TOKENIZERS)


def read_configs(
    configs: Sequence[pathlib.Path], layout: str, activation: str | None = None
) -> Description:
    """Read the config files beside a file with arrays in a layout.

    The config of the library whose layout it is counts; that of the other only where it is alone.
    An `activation` that the user gave replaces the configs'.

    Raises:
        WeightsError: if a file is not JSON, or a field has another type; it names both.
    """
    contents: dict[str, Any] = {
        config.name: read_merges_file(config) if config.name == MERGES else read_object(config)
        for config in configs
    }
    names = [name for name in (OPEN_CLIP, TRANSFORMERS) if describes_clip(name, contents)]
    if layout == "huggingface":
        names.reverse()
    try:
        found = Description()
        if names:
            of_transformers = functools.partial(read_config, activation=activation)
            read = read_open_clip if names[0] == OPEN_CLIP else of_transformers
            found = name_file(names[0], read, contents[names[0]])
        read_pixels(found, contents)
        for name, read in TOKENIZERS.items():
            if name in contents:
                read(contents[name], found, name)
        return found
    except ValueError as error:
        raise WeightsError(str(error)) from error


def read_pixels(found: Description, contents: Mapping[str, dict[str, Any]]) -> None:
    """Read how pictures become pixels, if the config that was read does not say it."""
    if found.source == OPEN_CLIP and contents[OPEN_CLIP].get("preprocess_cfg") is not None:
        return
    for name in PREPROCESSORS:
        if name in contents:
            content = contents[name]
            if name == "processor_config.json":  # of transformers 5; before, it held no pixels
                content = check_type(f"{name}: image_processor", content.get("image_processor"),
                                     dict | None)  # fmt: skip
            if content is not None:
                read_preprocessor(content, found, name)
                return
    if found.source != OPEN_CLIP and OPEN_CLIP in contents:
        other = name_file(OPEN_CLIP, read_open_clip, contents[OPEN_CLIP])
        found.mean, found.std = other.mean, other.std
        found.problems += [p for p in other.problems if "preprocess_cfg" in p]


def name_file(name: str, read: Any, content: dict[str, Any]) -> Description:
    """Read a content; put the name of its file before what is wrong with it."""
    try:
        found = read(content)
    except ValueError as error:
        raise WeightsError(f"{name}: {error}") from error
    if found.problems:
        found.problems[0] = f"{name} sets {found.problems[0]}"
    return found


def describes_clip(name: str, contents: Mapping[str, dict[str, Any]]) -> bool:
    """Return whether a config file is there and describes a model; that of timm does not."""
    content = contents.get(name, {})
    marks = ("model_cfg", "preprocess_cfg") if name == OPEN_CLIP else (
        "vision_config", "text_config", "vision_config_dict", "model_type")  # fmt: skip
    return any(mark in content for mark in marks)


def read_object(file: pathlib.Path) -> dict[str, Any]:
    """Return the object in a JSON file; raise a WeightsError if it holds none."""
    try:
        content = parse_json(file.read_bytes(), file.name)
    except FieldError as error:
        raise WeightsError(f"{file} is not readable as JSON: {error}") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{file} holds {content!r:.40}, not an object with fields")
    return content
