"""Make models from a description: with random weights, or with those of a file."""

import dataclasses
import os
from typing import Any

import flax.traverse_util
import jax.numpy as jnp
import numpy as np

from tempme_jax import methods
from tempme_jax.adapters.base import Adapter, Path
from tempme_jax.checks import require_one_of, require_whole
from tempme_jax.compile_cache import use_persistent_cache
from tempme_jax.devices import find_dtype
from tempme_jax.model import Drawn, Model
from tempme_jax.networks.architecture import ARCHITECTURES, Architecture
from tempme_jax.networks.backbones import BACKBONES, make_network
from tempme_jax.networks.network import LOG_TAU
from tempme_jax.parameters import draw_backbone, find_shapes, initialise, list_pretrained_paths
from tempme_jax.plugins import PluginError, load_installed
from tempme_jax.saved_options import join_options, list_adapter_options
from tempme_jax.text.bpe import Tokenizer
from tempme_jax.text.tokenizers import TOKENIZERS
from tempme_jax.weights.adapter_files import WrongBaseError, name_base, read_adapter_file
from tempme_jax.weights.files import load_weights
from tempme_jax.weights.layouts import WeightsError, check_params


def create(
    arch: str | Architecture = "ViT-B/32",
    *,
    method: str = "tempme",
    num_frames: int = 12,
    max_words: int | None = None,
    method_options: dict[str, Any] | None = None,
    dtype: Any = "float32",
    seed: int = 0,
    **sizes: Any,
) -> Model:
    """Make a model with random weights, of any size, to try everything offline.

    Args:
        arch: a name of `networks.architecture.ARCHITECTURES`, such as "ViT-B/32" or "ViT-L/14", or
            an `Architecture`.
        method, num_frames, max_words, method_options, dtype: as for `load`.
        seed: seed of all weights.
        **sizes: fields of `Architecture` in place of those of `arch`, such as `width=64, heads=2`.

    Raises:
        ValueError: if a name is unknown, or sizes or options do not fit; it says what does.

    >>> model = create(width=64, heads=2, depth=4, text_depth=1, method="tome", num_frames=4)
    >>> [stage.out for stage in model.schedule]
    [48, 46, 44, 42]
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
    return fill_params(model, {}, seed=seed)


def open_weights(
    source: str | os.PathLike,
    *,
    method: str | None,
    num_frames: int | None,
    max_words: int | None,
    method_options: dict[str, Any] | None,
    activation: str | None,
    dtype: Any,
    seed: int,
    backbone: str | None = None,
) -> Model:
    """Open the weights in a file, a folder or a repository. The arguments are those of `load`."""
    if backbone is not None:
        require_one_of(backbone, BACKBONES, "backbone")
    weights = load_weights(source, activation=activation, backbone=backbone)
    saved = weights.settings
    method = method or str(saved.get("method", "tempme"))
    require_plugin(source, method, saved)
    frames = saved.get("num_frames", 12) if num_frames is None else num_frames
    words = saved.get("max_words") if max_words is None else max_words
    asked = method_options or {}
    is_same_method = method == saved.get("method")
    given, settled = asked, asked
    if is_same_method:
        same_numbers = (frames, words) == (saved["num_frames"], saved["max_words"])
        given, settled = join_options(saved, weights.arch, asked, settle=same_numbers)
    model = assemble(
        weights.arch,
        method=method,
        num_frames=frames,
        max_words=words,
        options=settled,
        dtype=dtype,
        tau=read_tau(weights.params),
    )
    model = dataclasses.replace(model, options=given)
    if is_same_method and saved.get("folded") and not asked.keys() & list_adapter_options(method):
        network = model.network.copy(adapter=Adapter())
        model = dataclasses.replace(model, network=network, adapter_folded=True)
    try:
        loaded = fill_params(model, weights.params, seed=seed)
    except WeightsError as error:
        raise WeightsError(
            f"{source} does not fit method {method!r} with {frames} frames: {error}"
        ) from error
    trained = saved.get("trained") if is_same_method and not loaded.drawn.paths else None
    about = {"base": saved.get("base") or name_base(source), "trained": trained}
    about |= {"vocabulary": weights.vocabulary}
    return dataclasses.replace(loaded, drawn=find_drawn(saved, loaded), **about)


def open_adapter(
    adapter: str | os.PathLike,
    base: str | os.PathLike | None = None,
    *,
    activation: str | None = None,
    dtype: Any = "float32",
) -> Model:
    """Open an adapter together with the backbone that it was made with.

    Args:
        adapter: a file that `save_adapter` wrote, or a folder or a repository that holds one.
        base: the backbone, as for `load_weights`; None = the one that the adapter names.
        activation, dtype: as for `load`.

    Raises:
        FileNotFoundError: if there is no such file, folder or repository.
        WeightsError: if they hold something else, or do not belong together; it says why.
    """
    found = read_adapter_file(adapter)
    saved: Any = found.about["settings"]
    method, name = saved["method"], found.require_findable_base() if base is None else base
    require_plugin(adapter, method, saved)
    backbone = found.about["architecture"].get("backbone")
    try:
        weights = load_weights(name, activation=activation, backbone=backbone)
    except WeightsError as error:
        raise WrongBaseError(f"{found.origin} and cannot be opened with {name}: {error}") from error
    found.require_architecture(weights.arch, str(name))
    try:
        model = assemble(
            weights.arch,
            method=method,
            num_frames=saved["num_frames"],
            max_words=saved["max_words"],
            options=methods.rename_former_options(method, saved["options"]),
            dtype=dtype,
            tau=read_tau(found.params),
        )
        pretrained = list_pretrained_paths(weights.arch)
        frozen = {
            path: array
            for path, array in weights.params.items()
            if path in pretrained and not model.adapter.is_trained(path)
        }
        found.require_weights(frozen, str(name), weights.vocabulary)
        model = fill_params(model, frozen | found.params, seed=0)
    except WrongBaseError:
        raise
    except ValueError as error:
        raise WeightsError(f"the adapter {adapter} is damaged: {error}") from error
    given = methods.rename_former_options(method, saved.get("given", {}))
    about = {"base": found.base or name_base(name), "trained": saved.get("trained")}
    about |= {"vocabulary": weights.vocabulary}
    return dataclasses.replace(model, options=given, drawn=find_drawn(saved, model), **about)


def require_plugin(source: str | os.PathLike, method: str, saved: dict[str, Any]) -> None:
    """Raise a PluginError if a file's method is of a plugin that is not there."""
    if method != saved.get("method") or not saved.get("plugins") or methods.is_known(method):
        return
    load_installed()
    if not methods.is_known(method):
        plugin = saved["plugins"][0]
        raise PluginError(
            f"the method {method!r} of {os.fspath(source)} comes from the plugin {plugin!r}, which "
            "is code and not in the file. If you have it and trust it, give it by --plugin, or in "
            "Python by tempme_jax.load_plugin(...)"
        )


def read_tau(params: dict[Path, np.ndarray]) -> float:
    """Return the temperature of late interaction that was learned; 0 = none was."""
    return float(np.exp(params[LOG_TAU])) if LOG_TAU in params else 0.0


def find_drawn(saved: dict[str, Any], loaded: Model) -> Drawn:
    """Return what was drawn just now or, if nothing was, before the file was saved."""
    drawn = saved.get("drawn")
    if loaded.drawn.paths or drawn is None:
        return loaded.drawn
    return Drawn(drawn["seed"], frozenset(map(tuple, drawn["paths"])))


def assemble(
    arch: Architecture,
    *,
    method: str,
    num_frames: int,
    max_words: int | None,
    options: dict[str, Any],
    dtype: Any,
    tau: float = 0.0,
) -> Model:
    """Make a model without parameters; `options` are both settled and given ones.

    `tau` is that of the network, see `Network`.

    Raises:
        ValueError: if a name is unknown, or an option or a number does not fit; it says what does.
    """
    use_persistent_cache()
    adapter, _ = methods.replace_options(method, *methods.split_method(method), options)
    reads_padding = BACKBONES[arch.backbone].reads_padding if arch.backbone in BACKBONES else False
    most = arch.context_length - (0 if reads_padding else adapter.text_positions)
    least = len(TOKENIZERS.get(arch.tokenizer, Tokenizer).shortest)
    if most < least:
        raise ValueError(
            f"the {adapter.text_positions} learned tokens of method {method!r} leave no room for "
            f"words among the model's {arch.context_length} positions; give it fewer in its options"
        )
    if max_words is None:
        max_words = most if reads_padding else min(methods.MAX_WORDS, most)
    if reads_padding and max_words != most:
        raise ValueError(
            f"max_words={max_words}: the backbone {arch.backbone!r} reads all of its {most} "
            f"positions, the padding of a text, too; leave it out, or say {most}"
        )
    require_whole("max_words", max_words, least=least, most=most)
    adapter, reducer = methods.build(method, arch, num_frames, options, max_words=max_words)
    network = make_network(arch, adapter, reducer, find_dtype(dtype), tau=tau)
    if tau and (problem := methods.find_frame_problem(network, num_frames)):
        raise ValueError(f"it compares texts with the frames of videos, but {problem}")
    return Model(network, {}, method, num_frames, max_words, options=options)


def fill_params(model: Model, given: dict, *, seed: int) -> Model:
    """Return the model with the given parameters, and initial ones where they lack some.

    If `given`, which holds float32 arrays by path, is empty, all parameters are drawn.

    Raises:
        WeightsError: unless `given` holds all of CLIP's parameters, and none or all of the learned
            ones.
    """
    expected = find_shapes(model.network, model.num_frames)
    learned = expected.keys() - list_pretrained_paths(model.arch)
    if given:
        check_params(given, expected, may_lack=learned)
    else:
        given = draw_backbone(model.arch, expected, seed)
    drawn = Drawn(seed, frozenset(learned - given.keys()))
    params = {path: jnp.asarray(array) for path, array in given.items()}
    params |= initialise(model.network, model.num_frames, drawn.paths, seed)
    params = flax.traverse_util.unflatten_dict(params)
    return dataclasses.replace(model, params=params, drawn=drawn)
