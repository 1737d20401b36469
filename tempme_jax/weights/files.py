"""Read and write files of weights together with their architecture."""

import dataclasses
import json
import logging
import os
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np
import safetensors.numpy

from tempme_jax.adapters.base import Path
from tempme_jax.checks import require_one_of
from tempme_jax.files import write_whole
from tempme_jax.networks.architecture import ACTIVATIONS, HALF, MEAN, STD, Architecture
from tempme_jax.text import wordpiece
from tempme_jax.text.bpe import VOCAB_SIZE
from tempme_jax.text.tokenizers import make_tokenizer
from tempme_jax.weights.configs import read_configs
from tempme_jax.weights.errors import WeightsError
from tempme_jax.weights.hub import is_of_openai, locate
from tempme_jax.weights.layouts import find_family, fit_backbone, read_layout, write_layout
from tempme_jax.weights.saved import METADATA, SavedArchitecture, SavedModel, read_safetensors
from tempme_jax.weights.sizes import infer_architecture

log = logging.getLogger(__name__)

# Files of models with exact GELU, which nothing in the files says.
GELU_FILES = ("laion400m_laclip_vitb16",)
ASSUMED = (
    "the activation of its MLPs is assumed to be quick_gelu, as OpenAI's is, since nothing in "
    "the file or beside it says so"
)


@dataclasses.dataclass(frozen=True)
class Weights:
    """The contents of a file of weights.

    Attributes:
        params: float32 parameters by path; a subset of a model's.
        arch: their architecture.
        settings: the settings of a model that tempme_jax saved, empty for other files: "method",
            "options" (all, settled), "given" (the options that the user gave; not in files of
            version 0.1), "folded" (whether what was learned is added to the pretrained weights),
            "num_frames", "max_words", "drawn"; "base" (name of the weights that training began
            with) and "trained" (see `TrainingFacts`), which older files lack.
        vocabulary: content of a tokenizer that lies with the weights, see `text.from_json`.
    """

    params: dict[Path, np.ndarray]
    arch: Architecture
    settings: dict[str, Any]
    vocabulary: str = ""


def load_weights(
    source: str | os.PathLike, *, activation: str | None = None, backbone: str | None = None
) -> Weights:
    """Read a safetensors file, a folder that holds one, or a Hugging Face repository.

    Args:
        source: a path, or the name of a repository such as "openai/clip-vit-base-patch32".
        activation: activation of the MLPs, if the file does not say it or says it wrongly.
        backbone: name of a network, see `networks.backbones`, that the weights are for; None = the
            file's own.

    Raises:
        FileNotFoundError: if there is no such file, folder or repository; it says what to do.
        WeightsError: if the file is damaged, or its arrays are not those of the backbone.
        ValueError: if the activation is unknown.
    """
    file, configs = locate(str(source))
    arrays, ours = read_safetensors(file)
    read = interpret(file, arrays, ours, configs, activation)
    # The published code's arrays are fine-tuned from OpenAI's.
    if not (read.evidence or read.layout == "published" or is_of_openai(str(source))):
        log.warning('%s: %s; activation="gelu" replaces it', file, ASSUMED)
    backbone = backbone or read.arch.backbone
    try:
        params = fit_backbone(read.params, read.arch, backbone)
    except WeightsError as error:
        raise WeightsError(f"{file}: {error}") from error
    arch = dataclasses.replace(read.arch, backbone=backbone)
    return Weights(params, arch, dict(ours.get("settings", {})), read.vocabulary)


class Interpretation(NamedTuple):
    """What the arrays of a file are: their layout, the parameters, and their architecture.

    `evidence` says what tells the activation; it is empty if the activation is assumed.
    `vocabulary` is that of `Weights`.
    """

    layout: str
    params: dict[Path, np.ndarray]
    arch: Architecture
    evidence: str
    vocabulary: str = ""


def interpret(
    file: pathlib.Path,
    arrays: dict[str, np.ndarray],
    ours: SavedModel,
    configs: list[pathlib.Path],
    activation: str | None,
    leave_out: Sequence[str] = (),
) -> Interpretation:
    """Tell what the arrays of a file are.

    Args:
        file: path of the file, for errors and for activations known by name.
        arrays: its arrays by name.
        ours: the description of the model in a file of tempme_jax; empty for others.
        configs: the config files beside it, which are read if the file is another's.
        activation: activation of the MLPs, in place of what the files say.
        leave_out: names, or beginnings of names before a dot, of arrays that are not read.

    Raises:
        WeightsError: if the arrays are not those of a CLIP, or a config asks for something that
            tempme_jax does not compute.
    """
    if activation is not None:
        require_one_of(activation, ACTIVATIONS, "activation")
    try:
        try:
            layout, params = read_layout(arrays, leave_out)
        except WeightsError as error:
            explain_by_configs(error, [] if ours else configs)
        if "architecture" in ours:
            saved = ours["architecture"]
            known = SavedArchitecture.__annotations__
            about: dict[str, Any] = {key: value for key, value in saved.items() if key in known}
            about["activation"] = activation or saved["activation"]
            is_clips = about.get("tokenizer", "clip") == "clip"
            if is_clips and find_vocabulary(params) > VOCAB_SIZE:  # of a version that did not ask
                about["tokenizer"] = "unknown"
            arch, words = infer_architecture(params, **about), ours.get("vocabulary", "")
            return Interpretation(layout, params, arch, "the file", words)
        describe = DESCRIBERS[find_family(params).name]
        return describe(Foreign(file, layout, params, configs, activation))
    except WeightsError as error:
        raise WeightsError(f"{file}: {error}") from error


def explain_by_configs(error: WeightsError, configs: list[pathlib.Path]) -> NoReturn:
    """Raise an error about arrays again, with what the configs ask for that is not computed."""
    try:
        read_configs(configs, "").raise_problems()
    except WeightsError as asked:
        raise WeightsError(f"{error}; {asked}") from error
    raise error


class Foreign(NamedTuple):
    """A file of another program: its path and layout, and the arguments of `interpret`."""

    file: pathlib.Path
    layout: str
    params: dict[Path, np.ndarray]
    configs: list[pathlib.Path]
    activation: str | None


def describe_clip(given: Foreign) -> Interpretation:
    """Return the interpretation of another program's CLIP, by what the configs beside it say."""
    params, activation = given.params, given.activation
    found = read_configs(given.configs, given.layout, activation)
    found.raise_problems()
    evidence = "--activation" if activation else found.source if found.activation else ""
    activation = activation or found.activation
    if activation is None and given.file.stem in GELU_FILES:
        activation, evidence = "gelu", "the name of the file"
    arch = infer_architecture(
        params,
        heads=found.heads,
        text_heads=found.text_heads,
        head_width=found.head_width,
        activation=activation or "quick_gelu",
        mean=found.mean or MEAN,
        std=found.std or STD,
        resize=found.resize or "crop",
        tokenizer="clip" if find_vocabulary(params) == VOCAB_SIZE else "unknown",
    )
    found.compare(arch)
    if arch.vocab_size > VOCAB_SIZE:
        raise WeightsError(
            f"its text tower takes {arch.vocab_size} ids, which are not those of CLIP's tokenizer "
            f"({VOCAB_SIZE}), the only one that tempme_jax has"
        )
    return Interpretation(given.layout, params, arch, evidence)


def describe_umt(given: Foreign) -> Interpretation:
    """Return the interpretation of another program's UMT, beside which no configs are read."""
    known = find_vocabulary(given.params) == wordpiece.VOCAB_SIZE
    about = {"activation": given.activation} if given.activation else {}
    arch = infer_architecture(given.params, tokenizer="bert" if known else "unknown", **about)
    return Interpretation(given.layout, given.params, arch, "the layout")


def describe_siglip(given: Foreign) -> Interpretation:
    """Return the interpretation of transformers' SigLIP, by what the configs beside it say."""
    found = read_configs(given.configs, given.layout, given.activation)
    sides = [(field, value) for name, field, value in found.sizes if name == "image_size"]
    found.raise_problems()
    assert found.heads is not None and found.text_heads is not None
    if found.resize is None:
        found.resize = "squash_bilinear" if found.tokenizer == "gemma" else "squash"
        log.warning(
            "%s: no preprocessor_config.json beside it says how frames become pixels; taken as "
            "published: resize=%r, mean and std 0.5", given.file, found.resize,
        )  # fmt: skip
    arch = infer_architecture(
        given.params,
        heads=found.heads,
        text_heads=found.text_heads,
        image_size=sides[0][1],
        activation=given.activation or found.activation,
        mean=found.mean or HALF,
        std=found.std or HALF,
        resize=found.resize,
        tokenizer=found.tokenizer,
    )
    for field, value in sides[1:]:
        if value != sides[0][1]:
            found.problems.append(f"{field}={value}, but {sides[0][0]}={sides[0][1]}")
    found.compare(arch)
    try:
        size = arch.context_length, arch.context_length, arch.vocab_size
        make_tokenizer(found.tokenizer, *size, found.vocabulary)
    except ValueError as error:
        raise WeightsError(str(error)) from error
    return Interpretation(given.layout, given.params, arch, found.source, found.vocabulary)


# How another program's file is interpreted, by the family of its backbone.
DESCRIBERS = {"CLIP": describe_clip, "UMT": describe_umt, "SigLIP": describe_siglip}


def find_vocabulary(params: dict[Path, np.ndarray]) -> int:
    """Return the number of ids of the text tower."""
    return len(np.atleast_1d(params["text", "token_embedding"]))


def save_weights(
    file: str | os.PathLike,
    params: dict[Path, np.ndarray],
    arch: Architecture,
    *,
    layout: str = "tempme_jax",
    settings: dict[str, Any] | None = None,
    vocabulary: str = "",
) -> None:
    """Write a safetensors file, whole or not at all.

    Args:
        file: path of the file, ending in .safetensors; a file there is replaced.
        params: parameters by path.
        arch: their architecture, which is recorded in the file.
        layout: see `write_layout`.
        settings, vocabulary: see `Weights`.

    Raises:
        WeightsError: if the layout has no place for some of the parameters.
        ValueError: if the layout is unknown, or the name of the file ends otherwise.
    """
    about: dict[str, Any] = {"architecture": dataclasses.asdict(arch), "settings": settings or {}}
    if vocabulary:
        about["vocabulary"] = vocabulary
    write_safetensors(file, write_layout(layout, params), {METADATA: json.dumps(about)})


def write_safetensors(
    file: str | os.PathLike, arrays: dict[str, np.ndarray], metadata: dict[str, str]
) -> None:
    """Write arrays by their names to a safetensors file, whole or not at all.

    Raises:
        ValueError: if the name of the file ends otherwise.
    """
    file = pathlib.Path(file)
    if file.suffix != ".safetensors":
        raise ValueError(f"weights go to a file that ends in .safetensors, not to {str(file)!r}")
    file.parent.mkdir(parents=True, exist_ok=True)
    with write_whole(file) as unfinished:
        unfinished.touch()
        mode = unfinished.stat().st_mode
        safetensors.numpy.save_file(arrays, unfinished, metadata=metadata)
        unfinished.chmod(mode)  # safetensors makes it its owner's alone
