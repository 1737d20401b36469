"""Models made: from pretrained weights, from what was trained, or with random weights."""

import dataclasses
import json
import os
from typing import Any

import flax.traverse_util
import jax.numpy as jnp

from tempme_jax import methods
from tempme_jax.adapters.base import Adapter
from tempme_jax.checks import known, whole
from tempme_jax.compile_cache import use_persistent_cache
from tempme_jax.model import Drawn, Model
from tempme_jax.networks.architecture import ARCHITECTURES, Architecture
from tempme_jax.networks.clip import Clip
from tempme_jax.parameters import (
    initial_backbone,
    initialise,
    join,
    pretrained_paths,
    shapes,
    split,
)
from tempme_jax.training.config import Model as ModelSettings
from tempme_jax.training.config import is_workdir
from tempme_jax.training.flags import build
from tempme_jax.weights.files import load_weights
from tempme_jax.weights.layouts import WeightsError, check_params

# Ids: the start, one word, the end.
SHORTEST_TEXT = 3
DTYPES = {"float32": None, "bfloat16": jnp.bfloat16}


def load(
    source: str | os.PathLike,
    *,
    method: str | None = None,
    num_frames: int | None = None,
    max_words: int | None = None,
    method_options: dict[str, Any] | None = None,
    activation: str | None = None,
    dtype: str = "float32",
    seed: int = 0,
) -> Model:
    """Opens pretrained or trained weights.

    Args:
        source: a Hugging Face repository ("openai/clip-vit-base-patch32"), a folder or a
            `.safetensors` file, of OpenAI, open_clip, transformers, the published TempMe code or
            of ours. Ours know their method and settings; they are used where none are given.
            "tiny-clip" and, trained on the built-in set, "tiny-tempme" come with the package. The
            workdir of a training opens as it was trained, with the best checkpoint; of what is
            below only `dtype` can be given then.
        method: a name of `METHODS`; "tempme" where the file does not say.
        num_frames: frames of every video; 12 where the file does not say.
        max_words: ids of every text; 32 where the file does not say.
        method_options: settings of the method in place of the paper's for this backbone and this
            number of frames: fields of its adapter and its reducer.
        activation: "quick_gelu" or "gelu", where the file does not say it.
        dtype: of the activations, "float32" or "bfloat16".
        seed: of what the method learns and the file does not hold.

    Raises:
        FileNotFoundError: if there is no such file, folder or repository.
        WeightsError: if the arrays are not those of the model; it lists them.
        ValueError: if a name is unknown, or options do not fit; it says what does.
    """
    if is_workdir(source):
        given = (method, num_frames, max_words, method_options, activation)
        return load_run(source, dtype, only_dtype=all(g is None for g in given))
    weights = load_weights(source, activation=activation)
    saved = weights.settings
    method = method or saved.get("method", "tempme")
    options = dict(method_options or {})
    if method == saved.get("method"):
        options = as_saved(saved, weights.arch, num_frames, max_words) | options
    num_frames = saved.get("num_frames", 12) if num_frames is None else num_frames
    model = assemble(
        weights.arch,
        method=method,
        num_frames=num_frames,
        max_words=saved.get("max_words") if max_words is None else max_words,
        options=options,
        dtype=dtype,
    )
    anew = (method_options or {}).keys() & adapter_options(method)
    if method == saved.get("method") and saved.get("folded") and not anew:
        model = dataclasses.replace(model, clip=model.clip.copy(adapter=Adapter()))
    try:
        loaded = with_params(model, weights.params, seed=seed)
    except WeightsError as error:
        raise WeightsError(
            f"{source} does not fit method {method!r} with {num_frames} frames: {error}"
        ) from error
    return dataclasses.replace(loaded, drawn=drawn_of(saved, loaded))


def drawn_of(saved: dict[str, Any], loaded: Model) -> Drawn:
    """What was drawn: just now, or else before the file was saved."""
    drawn = saved.get("drawn")
    if loaded.drawn.paths or drawn is None:
        return loaded.drawn
    return Drawn(drawn["seed"], frozenset(map(tuple, drawn["paths"])))


def adapter_options(method: str) -> set[str]:
    """The options of a method that are of its adapter."""
    return {field.name for field in dataclasses.fields(methods.parts(method)[0])}


def load_run(workdir: str | os.PathLike, dtype: str, *, only_dtype: bool) -> Model:
    """The model that was trained in a workdir."""
    from tempme_jax.training.checkpoint import (  # Orbax takes a second to import
        read_config,
        selected,
    )

    if not only_dtype:
        raise ValueError(
            f"{workdir} is the workdir of a training, whose method and settings are known; give "
            "none but dtype, or load the weights that it began with"
        )
    config = build(read_config(workdir))
    model = model_of(dataclasses.replace(config.model, dtype=dtype), config.seed)
    trainable, frozen = split(model.clip, model.params)
    if not trainable:
        return model
    found = selected(workdir, trainable)
    if found is None:
        raise WeightsError(f"{workdir} holds no checkpoint yet; train with it first")
    return dataclasses.replace(model, params=join(found[0], frozen), drawn=Drawn())


def model_of(settings: ModelSettings, seed: int) -> Model:
    """The model of a run, as training begins with it."""
    shared = {
        "method": settings.method,
        "num_frames": settings.num_frames,
        "max_words": settings.max_words,
        "method_options": {k: v for k, v in settings.options.items() if v is not None},
        "dtype": settings.dtype,
        "seed": seed,
    }
    if settings.weights:
        model = load(settings.weights, activation=settings.activation, **shared)
    else:
        model = create(**settings.architecture, **shared)
    return dataclasses.replace(model, clip=model.clip.copy(remat=settings.remat))


def as_saved(
    saved: dict[str, Any], arch: Architecture, num_frames: int | None, max_words: int | None
) -> dict[str, Any]:
    """The saved options; of another number of frames or words only those that do not follow it."""
    options, frames, words = saved["options"], saved["num_frames"], saved["max_words"]
    if num_frames in (None, frames) and max_words in (None, words):
        return options
    settled = methods.build(saved["method"], arch, frames, max_words=words)
    settled = json.loads(json.dumps([dataclasses.asdict(part) for part in settled]))
    follows = settled[0] | settled[1]
    return {name: value for name, value in options.items() if follows[name] != value}


def create(
    arch: str | Architecture = "ViT-B/32",
    *,
    method: str = "tempme",
    num_frames: int = 12,
    max_words: int | None = None,
    method_options: dict[str, Any] | None = None,
    dtype: str = "float32",
    seed: int = 0,
    **sizes: Any,
) -> Model:
    """Makes a model with random weights, of any size, to try everything offline.

    Args:
        arch: "ViT-B/32", "ViT-B/16", "ViT-L/14" or an `Architecture`.
        method, num_frames, max_words, method_options, dtype: as for `load`.
        seed: of all weights.
        **sizes: fields of `Architecture` in place of those of `arch`, such as `width=64, heads=2`.

    Raises:
        ValueError: if a name is unknown, or sizes or options do not fit; it says what does.
    """
    if not isinstance(arch, Architecture):
        arch = ARCHITECTURES[known(arch, ARCHITECTURES, "backbone")]
    names = {field.name for field in dataclasses.fields(Architecture)}
    for name in sizes:
        known(name, names, "size of an architecture")
    arch = dataclasses.replace(arch, **sizes)
    model = assemble(
        arch,
        method=method,
        num_frames=num_frames,
        max_words=max_words,
        options=method_options or {},
        dtype=dtype,
    )
    return with_params(model, {}, seed=seed)


def assemble(
    arch: Architecture,
    *,
    method: str,
    num_frames: int,
    max_words: int | None,
    options: dict[str, Any],
    dtype: str,
) -> Model:
    """A model that has no parameters yet."""
    use_persistent_cache()
    adapter, _ = methods.with_options(method, *methods.parts(method), options)
    most = arch.context_length - adapter.text_positions
    if most < SHORTEST_TEXT:
        raise ValueError(
            f"the {adapter.text_positions} learned tokens of method {method!r} leave no room for "
            f"words among the model's {arch.context_length} positions; give it fewer in its options"
        )
    if max_words is None:
        max_words = min(methods.MAX_WORDS, most)
    whole("max_words", max_words, least=SHORTEST_TEXT, most=most)
    adapter, reducer = methods.build(method, arch, num_frames, options, max_words=max_words)
    dtype = DTYPES[known(dtype, DTYPES, "dtype")]
    return Model(Clip(arch, adapter, reducer, dtype), {}, method, num_frames, max_words)


def with_params(model: Model, given: dict, *, seed: int) -> Model:
    """The model with the given parameters, and initial ones for what they lack.

    Raises:
        WeightsError: if what is given is not all of CLIP, and nothing or all of what is learned.
    """
    expected = shapes(model.clip, model.num_frames)
    learned = expected.keys() - pretrained_paths(model.arch)
    if given:
        check_params(given, expected, may_lack=learned)
    else:
        given = initial_backbone(model.arch, expected, seed)
    drawn = Drawn(seed, frozenset(learned - given.keys()))
    params = {path: jnp.asarray(array) for path, array in given.items()}
    params |= initialise(model.clip, model.num_frames, drawn.paths, seed)
    params = flax.traverse_util.unflatten_dict(params)
    return dataclasses.replace(model, params=params, drawn=drawn)
