"""The options of a method as a saved model has them: those that were given, and those settled."""

import dataclasses
import json
from typing import Any

from tempme_jax import methods
from tempme_jax.networks.architecture import Architecture


def join_options(
    saved: dict[str, Any], arch: Architecture, asked: dict[str, Any], *, settle: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Join the options that a model was saved with and those that are asked for.

    Args:
        saved: the settings that the model was saved with.
        arch: its backbone.
        asked: options that go before the saved ones.
        settle: whether those that were left open are as they were settled then. Else they follow
            other numbers of frames and words.

    Returns:
        The options as they were given, and those to build the method with.
    """
    method = saved["method"]
    settled = methods.rename_former_options(method, saved["options"])
    former = methods.list_former_defaults(method, settled)
    given = former | read_given_options(saved, arch) | asked
    return given, (former | settled | asked if settle else given)


def read_given_options(saved: dict[str, Any], arch: Architecture) -> dict[str, Any]:
    """Return the options that the user gave when the saved model was made.

    Files of version 0.1 hold only the settled options; there, those were given that differ from
    the paper's.
    """
    if "given" in saved:
        return methods.rename_former_options(saved["method"], saved["given"])
    method, frames, words = saved["method"], saved["num_frames"], saved["max_words"]
    settled = methods.rename_former_options(method, saved["options"])
    try:
        halves = methods.build(method, arch, frames, max_words=words)
    except ValueError:  # the paper's settings do not fit this backbone
        return settled
    # In JSON, where the saved ones come from, a tuple is a list.
    adapter, reducer = json.loads(json.dumps([dataclasses.asdict(half) for half in halves]))
    default = adapter | reducer
    return {name: value for name, value in settled.items() if default[name] != value}


def list_adapter_options(method: str) -> set[str]:
    """Return the names of a method's options that belong to its adapter."""
    return {field.name for field in dataclasses.fields(methods.split_method(method)[0])}
