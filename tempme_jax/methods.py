"""The methods: what is learned, and what happens to the tokens."""

import dataclasses
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
from tempme_jax.networks.architecture import Architecture
from tempme_jax.reducers.base import Reducer
from tempme_jax.reducers.diffrate import DiffRate
from tempme_jax.reducers.diffrate_search import DiffRateSearch
from tempme_jax.reducers.evit import EViT
from tempme_jax.reducers.joined import Joined
from tempme_jax.reducers.schedule import schedule
from tempme_jax.reducers.sta import STA
from tempme_jax.reducers.tempme import TempMe
from tempme_jax.reducers.testa import TESTA
from tempme_jax.reducers.tome import ToMe

# Ids of a text where nobody says how many; fewer where the model has fewer positions.
MAX_WORDS = 32
# Options left open are set by the backbone and the number of frames, as in the paper. Any of these
# that reduces nothing and any that reduces combine: "prompt+tome" learns as the first, and reduces
# as the second.
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
    "tome": (LoRA(), ToMe()),
    "testa": (LoRA(), TESTA()),
    "tempme": (LoRA(), TempMe()),
}


def split_method(method: str) -> tuple[Adapter, Reducer]:
    """The adapter and the reducer of a method, or of two that are joined by a "+".

    Raises:
        ValueError: if a name is unknown, or the two do not combine; it says why.
    """
    first, plus, second = method.partition("+")
    adapter, reducer = METHODS[require_one_of(first, METHODS, "method")]
    if not plus:
        return adapter, reducer
    learn = [name for name, row in METHODS.items() if row[1] == Reducer()]
    if first not in learn:
        raise ValueError(
            f"{method!r}: {first!r} already says what happens to the tokens; before the + stands "
            f"one of {', '.join(learn)}"
        )
    if require_one_of(second, METHODS, "method") in learn:
        raise ValueError(
            f"{method!r}: {second!r} says nothing of the tokens; behind the + stands one of "
            f"{', '.join(name for name in METHODS if name not in learn)}"
        )
    return adapter, METHODS[second][1]


def build(
    method: str,
    arch: Architecture,
    num_frames: int,
    options: dict[str, Any] | None = None,
    *,
    max_words: int = MAX_WORDS,
) -> tuple[Adapter, Reducer]:
    """The adapter and the reducer of a method, with every option settled.

    Args:
        method: a name of `METHODS`, or two of them, see `split_method`.
        arch: the backbone.
        num_frames: frames of a video.
        options: fields of the adapter or of the reducer, by name, in place of the paper's values.
        max_words: ids of a text.

    Raises:
        ValueError: if the method or an option is unknown, or an option does not fit the backbone
            and the number of frames; it says what does.
    """
    num_frames = require_whole("num_frames", num_frames, least=1)
    adapter, reducer = with_options(method, *split_method(method), options or {})
    reducer = reducer.resolve(patches=arch.patches, frames=num_frames, depth=arch.depth)
    adapter = adapter.resolve(frames=num_frames, words=max_words, depth=arch.depth)
    tokens = 1 + arch.patches
    adapter.check(schedule(reducer, frames=num_frames, tokens=tokens, depth=arch.depth), arch)
    return adapter, reducer


def with_options(
    method: str, adapter: Adapter, reducer: Reducer, options: dict[str, Any]
) -> tuple[Adapter, Reducer]:
    """The two with those of their fields replaced that `options` names."""
    of_adapter = {field.name for field in dataclasses.fields(adapter)}
    of_reducer = {field.name for field in dataclasses.fields(reducer)}
    for name in options:
        require_one_of(name, of_adapter | of_reducer, f"option of method {method!r}")
    pick = lambda names: {name: value for name, value in options.items() if name in names}  # noqa: E731
    return (
        dataclasses.replace(adapter, **pick(of_adapter)),
        dataclasses.replace(reducer, **pick(of_reducer)),
    )
