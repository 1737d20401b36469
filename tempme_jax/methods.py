"""The methods: one row of `METHODS` for each, with an adapter and a reducer."""

import contextlib
import dataclasses
import typing
from typing import Any

from tempme_jax.adapters.base import Adapter
from tempme_jax.adapters.bottleneck import Bottleneck
from tempme_jax.adapters.dgl import DGL, DGLTransformer
from tempme_jax.adapters.full import Full
from tempme_jax.adapters.lora import LoRA
from tempme_jax.adapters.mv_adapter import MVAdapter
from tempme_jax.adapters.plevu import PLEVU
from tempme_jax.adapters.prompt import Prompt
from tempme_jax.adapters.rap import RAP
from tempme_jax.adapters.vop import VoP
from tempme_jax.checks import require_one_of, require_whole
from tempme_jax.fields import check_type
from tempme_jax.networks.architecture import Architecture
from tempme_jax.networks.network import Network
from tempme_jax.plugins import add_table, find_row, find_source
from tempme_jax.reducers.base import Reducer, require_class_token
from tempme_jax.reducers.diffrate import DiffRate
from tempme_jax.reducers.diffrate_search import DiffRateSearch
from tempme_jax.reducers.evit import EViT
from tempme_jax.reducers.joined import Joined
from tempme_jax.reducers.schedule import make_schedule
from tempme_jax.reducers.sta import STA
from tempme_jax.reducers.tempme import TempMe
from tempme_jax.reducers.testa import TESTA
from tempme_jax.reducers.tome import ToMe

# Default number of ids of a text; fewer if the model has fewer positions.
MAX_WORDS = 32
# Options that are None get the paper's values for the backbone and the number of frames. A method
# without a reducer and one with a reducer combine: "prompt+tome" trains prompts and merges like
# ToMe. Their options are given in one dictionary, so no adapter shares a field with a reducer.
METHODS: dict[str, tuple[Adapter, Reducer]] = {
    "clip": (Adapter(), Reducer()),
    "full": (Full(), Reducer()),
    "lora": (LoRA(), Reducer()),
    "prompt": (Prompt(), Reducer()),
    "adapter": (Bottleneck(), Reducer()),
    "plevu": (PLEVU(), Reducer()),
    "vop": (VoP(), Reducer()),
    "vop-p": (VoP(generic=4, positional=4), Reducer()),
    "vop-c": (VoP(generic=4, contextual=4), Reducer()),
    "vop-f": (VoP(video=8), Joined()),
    "vop-fp": (VoP(generic=4, positional=4, video=8), Joined()),
    "vop-fc": (VoP(generic=4, contextual=4, video=8), Joined()),
    "dgl": (DGL(), Reducer()),
    "dgl-transformer": (DGLTransformer(), Reducer()),
    "mv-adapter": (MVAdapter(), Reducer()),
    "rap": (RAP(), Reducer()),  # a reconstruction
    "evit": (LoRA(), EViT()),
    "diffrate": (LoRA(), DiffRate()),
    "diffrate-search": (Adapter(), DiffRateSearch()),
    "sta": (LoRA(), STA()),
    "joined": (Adapter(), Joined(layer=0, positions=False)),
    "tome": (LoRA(), ToMe()),
    "testa": (LoRA(), TESTA()),
    "tempme": (LoRA(), TempMe()),
}


def find_row_problem(name: str, row: Any) -> str:
    """Return what is wrong with a row of `METHODS`; empty if nothing is.

    >>> find_row_problem("mine", LoRA())
    'a row is a pair of an adapter and a reducer, such as (LoRA(), Reducer())'
    """
    halves = row if isinstance(row, tuple) and len(row) == 2 else (None, None)
    if not (isinstance(halves[0], Adapter) and isinstance(halves[1], Reducer)):
        return "a row is a pair of an adapter and a reducer, such as (LoRA(), Reducer())"
    learned, merged = ({field.name for field in dataclasses.fields(half)} for half in row)
    if shared := sorted(learned & merged):
        return f"its adapter and its reducer both have an option {shared[0]!r}; rename one"
    return ""


add_table("method", METHODS, find_row_problem)

# Options that files of version 0.1 hold under another name, by that name.
FORMER_OPTIONS = {"plevu": {"layers": "temporal_layers"}}
# What files mean that lack the first of these options: they are older than it, and than the
# present defaults of the others.
FORMER_DEFAULTS = {"testa": {"classes_across": True, "vote": "mean"}}


def split_method(method: str) -> tuple[Adapter, Reducer]:
    """Return the adapter and the reducer of a method, or of two methods joined by a "+".

    Raises:
        ValueError: if a name is unknown, or the two do not combine; the message says why.

    >>> adapter, reducer = split_method("prompt+tome")
    >>> type(adapter).__name__, type(reducer).__name__
    ('Prompt', 'ToMe')
    """
    first, plus, second = method.partition("+")
    adapter, reducer = find_row("method", first)
    if not plus:
        return adapter, reducer
    merging = find_row("method", second)[1]
    learn = [name for name, row in METHODS.items() if row[1] == Reducer()]
    if first not in learn:
        raise ValueError(
            f"{method!r}: {first!r} already reduces tokens; before the + write one of "
            f"{', '.join(learn)}"
        )
    if second in learn:
        raise ValueError(
            f"{method!r}: {second!r} does not reduce tokens; after the + write one of "
            f"{', '.join(name for name in METHODS if name not in learn)}"
        )
    return adapter, merging


def is_known(method: str) -> bool:
    """Return whether both halves of a method are in the table."""
    return all(half in METHODS for half in method.split("+"))


def find_plugins(method: str) -> list[str]:
    """Return the plugins that a method comes from."""
    halves = method.split("+")
    return list(dict.fromkeys(filter(None, (find_source("method", half) for half in halves))))


def build(
    method: str,
    arch: Architecture,
    num_frames: int,
    options: dict[str, Any] | None = None,
    *,
    max_words: int = MAX_WORDS,
) -> tuple[Adapter, Reducer]:
    """Return the adapter and the reducer of a method, with every option set.

    Args:
        method: a name of `METHODS`, or two joined by a "+", see `split_method`.
        arch: sizes of the backbone.
        num_frames: number of frames of a video.
        options: fields of the adapter or of the reducer that replace the paper's values.
        max_words: number of ids of a text.

    Raises:
        ValueError: if the method or an option is unknown, or an option does not fit the backbone
            and the number of frames; the message gives what fits.

    >>> from tempme_jax.networks.architecture import ARCHITECTURES
    >>> adapter, reducer = build("tempme", ARCHITECTURES["ViT-B/32"], 12, {"rank": 16})
    >>> adapter.rank, reducer.layers, reducer.groups
    (16, (8, 9, 10), (2, 2, 3))
    """
    num_frames = require_whole("num_frames", num_frames, least=1)
    adapter, reducer = replace_options(method, *split_method(method), options or {})
    reducer = reducer.resolve(
        patches=arch.patches, frames=num_frames, depth=arch.depth, n_cls=arch.class_tokens
    )
    adapter = adapter.resolve(frames=num_frames, words=max_words, arch=arch)
    require_class_token(adapter, arch.class_tokens)
    stages = make_schedule(
        reducer,
        frames=num_frames,
        tokens=arch.tokens,
        depth=arch.depth,
        n_cls=arch.class_tokens,
    )
    adapter.check(stages, arch)
    return adapter, reducer


def replace_options(
    method: str, adapter: Adapter, reducer: Reducer, options: dict[str, Any]
) -> tuple[Adapter, Reducer]:
    """Return copies of the two with the fields that `options` names replaced.

    Raises:
        ValueError: an option is unknown or not allowed, or has another type than its field.
    """
    options = rename_former_options(method, options)
    halves = adapter, reducer
    known = [{field.name for field in dataclasses.fields(half)} for half in halves]
    for name in options:
        require_one_of(name, set().union(*known), f"option of method {method!r}")
    changed = []
    for half, names in zip(halves, known, strict=True):
        kinds = typing.get_type_hints(type(half))
        given = {
            name: check_type(name, value, kinds[name])
            for name, value in options.items()
            if name in names
        }
        changed.append(dataclasses.replace(half, **given))
    return changed[0], changed[1]


def find_frame_problem(network: Network, num_frames: int) -> str:
    """Say why a video has no vector of each frame, and what has; empty if it has.

    See `Network.find_frame_problem`.
    """
    problem = network.find_frame_problem(num_frames)
    if not problem:
        return ""
    keeps = []
    for name in METHODS:
        with contextlib.suppress(ValueError):  # a method that does not fit the backbone
            adapter, reducer = build(name, network.arch, num_frames)
            other = network.copy(adapter=adapter, reducer=reducer)
            keeps += [] if other.find_frame_problem(num_frames) else [name]
    remedy = f"methods that keep them: {', '.join(keeps)}" if keeps else "no method keeps them"
    return f"{problem}; {remedy}"


def rename_former_options(method: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return options of saved models and workdirs under the names that they have now.

    >>> rename_former_options("plevu", {"layers": 2})
    {'temporal_layers': 2}
    """
    names = FORMER_OPTIONS.get(method, {})
    return {names.get(name, name): value for name, value in options.items()}


def list_former_defaults(method: str, saved: dict[str, Any]) -> dict[str, Any]:
    """Return what options that a saved model or workdir left open meant when it was saved.

    Args:
        method: its method.
        saved: all of its settled options.

    >>> list_former_defaults("lora+testa", {"gate": True, "vote": "min"})
    {'classes_across': True, 'vote': 'mean'}
    >>> list_former_defaults("testa", {"gate": True, "vote": "min", "classes_across": False})
    {}
    """
    former = {}
    for half in method.split("+"):
        defaults = FORMER_DEFAULTS.get(half, {})
        if defaults and next(iter(defaults)) not in saved:
            former |= defaults
    return former
