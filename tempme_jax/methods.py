"""The methods: what is learned, and what happens to the tokens."""

import dataclasses
from typing import Any

from tempme_jax.adapters.base import Adapter
from tempme_jax.adapters.bottleneck import Bottleneck
from tempme_jax.adapters.full import Full
from tempme_jax.adapters.lora import LoRA
from tempme_jax.adapters.prompt import Prompt
from tempme_jax.architecture import Architecture
from tempme_jax.options import known, whole
from tempme_jax.reducers.base import Reducer
from tempme_jax.reducers.tempme import TempMe
from tempme_jax.reducers.tome import ToMe
from tempme_jax.schedule import schedule

# Options left open are set by the backbone and the number of frames, as in the paper.
METHODS: dict[str, tuple[Adapter, Reducer]] = {
    "clip": (Adapter(), Reducer()),
    "full": (Full(), Reducer()),
    "lora": (LoRA(), Reducer()),
    "prompt": (Prompt(), Reducer()),
    "adapter": (Bottleneck(), Reducer()),
    "tome": (LoRA(), ToMe()),
    "tempme": (LoRA(), TempMe()),
    "full+tome": (Full(), ToMe()),
    "full+tempme": (Full(), TempMe()),
    "prompt+tome": (Prompt(), ToMe()),
    "prompt+tempme": (Prompt(), TempMe()),
    "adapter+tome": (Bottleneck(), ToMe()),
    "adapter+tempme": (Bottleneck(), TempMe()),
}


def build(
    method: str, arch: Architecture, num_frames: int, options: dict[str, Any] | None = None
) -> tuple[Adapter, Reducer]:
    """The adapter and the reducer of a method, with every option settled.

    Args:
        method: a name of `METHODS`.
        arch: the backbone.
        num_frames: frames of a video.
        options: fields of the adapter or of the reducer, by name, in place of the paper's values.

    Raises:
        ValueError: if the method or an option is unknown, or an option does not fit the backbone
            and the number of frames; it says what does.
    """
    num_frames = whole("num_frames", num_frames, least=1)
    adapter, reducer = METHODS[known(method, METHODS, "method")]
    adapter, reducer = with_options(method, adapter, reducer, options or {})
    reducer = reducer.resolve(patches=arch.patches, frames=num_frames, depth=arch.depth)
    schedule(reducer, frames=num_frames, tokens=1 + arch.patches, depth=arch.depth)
    return adapter, reducer


def with_options(
    method: str, adapter: Adapter, reducer: Reducer, options: dict[str, Any]
) -> tuple[Adapter, Reducer]:
    """The two with those of their fields replaced that `options` names."""
    of_adapter = {field.name for field in dataclasses.fields(adapter)}
    of_reducer = {field.name for field in dataclasses.fields(reducer)}
    for name in options:
        known(name, of_adapter | of_reducer, f"option of method {method!r}")
    pick = lambda names: {name: value for name, value in options.items() if name in names}  # noqa: E731
    return (
        dataclasses.replace(adapter, **pick(of_adapter)),
        dataclasses.replace(reducer, **pick(of_reducer)),
    )
