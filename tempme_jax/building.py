"""Models made from a description: with random weights, or with those of a file."""

import dataclasses
import json
import os
from typing import Any

import flax.traverse_util
import jax.numpy as jnp

from tempme_jax import methods
from tempme_jax.adapters.base import Adapter
from tempme_jax.checks import require_one_of, require_whole
from tempme_jax.compile_cache import use_persistent_cache
from tempme_jax.model import Drawn, Model
from tempme_jax.networks.architecture import ARCHITECTURES, Architecture
from tempme_jax.networks.clip import Clip
from tempme_jax.parameters import initial_backbone, initialise, pretrained_paths, shapes
from tempme_jax.weights.files import load_weights
from tempme_jax.weights.layouts import WeightsError, check_params

# Ids: the start, one word, the end.
SHORTEST_TEXT = 3
DTYPES = {"float32": None, "bfloat16": jnp.bfloat16}


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
        arch = ARCHITECTURES[require_one_of(arch, ARCHITECTURES, "backbone")]
    names = {field.name for field in dataclasses.fields(Architecture)}
    for name in sizes:
        require_one_of(name, names, "size of an architecture")
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


def open_weights(
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
    """Make a model of the weights in a file, a folder or a repository; arguments as for `load`."""
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
        model = dataclasses.replace(model, network=model.network.copy(adapter=Adapter()))
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
    return {field.name for field in dataclasses.fields(methods.split_method(method)[0])}


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
    adapter, _ = methods.with_options(method, *methods.split_method(method), options)
    most = arch.context_length - adapter.text_positions
    if most < SHORTEST_TEXT:
        raise ValueError(
            f"the {adapter.text_positions} learned tokens of method {method!r} leave no room for "
            f"words among the model's {arch.context_length} positions; give it fewer in its options"
        )
    if max_words is None:
        max_words = min(methods.MAX_WORDS, most)
    require_whole("max_words", max_words, least=SHORTEST_TEXT, most=most)
    adapter, reducer = methods.build(method, arch, num_frames, options, max_words=max_words)
    dtype = DTYPES[require_one_of(dtype, DTYPES, "dtype")]
    return Model(Clip(arch, adapter, reducer, dtype), {}, method, num_frames, max_words)


def with_params(model: Model, given: dict, *, seed: int) -> Model:
    """The model with the given parameters, and initial ones for what they lack.

    Raises:
        WeightsError: if what is given is not all of CLIP, and nothing or all of what is learned.
    """
    expected = shapes(model.network, model.num_frames)
    learned = expected.keys() - pretrained_paths(model.arch)
    if given:
        check_params(given, expected, may_lack=learned)
    else:
        given = initial_backbone(model.arch, expected, seed)
    drawn = Drawn(seed, frozenset(learned - given.keys()))
    params = {path: jnp.asarray(array) for path, array in given.items()}
    params |= initialise(model.network, model.num_frames, drawn.paths, seed)
    params = flax.traverse_util.unflatten_dict(params)
    return dataclasses.replace(model, params=params, drawn=drawn)
