"""The dial of an index: the setting of its model that made the vectors, if not the trained one."""

import dataclasses
import json
import math
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

from tempme_jax.fingerprint import describe_model
from tempme_jax.search.errors import VideoIndexError
from tempme_jax.search.runtimes import LEAST_TOGETHER

if TYPE_CHECKING:  # it imports JAX
    from tempme_jax.model import Model


class DialFields(TypedDict):
    """The field "dial" of a header; without it, the vectors are of the trained setting.

    Attributes:
        speed: the multiple of the trained speed that was asked for; None if options were given.
        options: the options of the reducer that differ from the trained ones.
        trained: what these options are in training.
        cosine: least cosine of a vector and that of the trained setting, if it was measured.
    """

    speed: float | None
    options: dict[str, Any]
    trained: dict[str, Any]
    cosine: NotRequired[float | None]


def describe_dial(model: "Model") -> dict[str, Any]:
    """Return what a header says about the dial of a model; empty if it was not turned."""
    dialed = None if model.is_exported else model.dialed
    if dialed is None:
        return {}
    from tempme_jax.dial import list_changes

    about = {
        "speed": dialed.speed,
        "options": list_changes(dialed.trained, model.reducer),
        "trained": list_changes(model.reducer, dialed.trained),
        "cosine": dialed.cosine,
    }
    return {"dial": json.loads(json.dumps(about))}


def strip_dial(header: Mapping[str, Any]) -> dict[str, Any]:
    """Return a header as it would be with the trained setting."""
    stripped = dict(header)
    if dial := stripped.pop("dial", None):
        options = header["model"].get("options", {}) | dial["trained"]
        stripped["model"] = header["model"] | {"options": options}
    return stripped


def turn_to_header(model: "Model", header: Mapping[str, Any]) -> "Model":
    """Turn the dial of a model as it was when the vectors of an index were made.

    A model that has no such setting, as one of other weights, stays as it is.
    """
    dial = header.get("dial")
    if not dial or model.is_exported:
        return model
    try:
        turned = model.dial(**dial["options"])
    except ValueError:
        return model
    if turned.dialed is None:
        return turned
    about = {"speed": dial["speed"], "cosine": dial.get("cosine")}
    return dataclasses.replace(turned, dialed=dataclasses.replace(turned.dialed, **about))


def turn_to_speed(model: "Model", speed: float | None) -> "Model":
    """Turn the dial of a model so that it is at least so many times as fast; say how.

    None leaves it as it is.

    Raises:
        VideoIndexError: if that is not possible; it says what is.
    """
    if speed is None:
        return model
    from tempme_jax.dial import describe_options
    from tempme_jax.search.speeds import choose_setting, round_down

    if model.is_exported:
        raise VideoIndexError(
            "a model that was exported has the speed that it was exported with; leave the speed "
            "out, or give the model itself, and --runtime onnx"
        )
    model = model.dial()  # the speed is a multiple of the trained setting's
    try:
        choice = choose_setting(model, speed)
    except ValueError as error:
        raise VideoIndexError(str(error)) from error
    turned = model.dial(**choice.options)
    if choice.options:
        print(
            f"Speed {speed:g}x: {describe_options(choice.options)}, {round_down(choice.speed)} "
            f"times as fast as trained ({choice.words})",
            file=sys.stderr,
            flush=True,
        )
    if turned.dialed is None:
        return turned
    dialed = dataclasses.replace(turned.dialed, speed=speed, cosine=choice.cosine)
    return dataclasses.replace(turned, dialed=dialed)


def choose_dial(
    header: Mapping[str, Any],
    speed: float | None,
    open_model: Callable[[Mapping[str, Any]], "Model"],
    uri: str,
) -> Mapping[str, Any]:
    """Return the header of an index as of the vectors that are made now, at some speed.

    Args:
        header: of the index.
        speed: the speed that is asked for; None for that of the index.
        open_model: opens the model of a header, in JAX.
        uri: address of the index.

    Raises:
        VideoIndexError: that speed is not possible, or its vectors cannot be searched together with
            those of the index.
    """
    if is_of_speed(header, speed):
        return header
    stripped = strip_dial(header)
    model = turn_to_speed(open_model(stripped), speed)
    ours = stripped | {"model": describe_model(model)} | describe_dial(model)
    refuse_other_dial(header, ours, uri)
    return ours


def is_of_speed(header: Mapping[str, Any], speed: float | None) -> bool:
    """Return whether vectors of an index are of the speed that is asked for; None is any."""
    made = header["dial"]["speed"] if "dial" in header else 1.0
    return speed is None or speed == made


def refuse_other_dial(made: Mapping[str, Any], ours: Mapping[str, Any], uri: str) -> None:
    """Raise a VideoIndexError if vectors of two dials of one model cannot be searched together.

    They can if they agree enough, by what is known of how each agrees with the trained setting:
    the angle between two vectors is at most the sum of their angles to a third.

    Args:
        made: header of the index.
        ours: a header with the dial of what is to be added.
        uri: address of the index.
    """
    dials = [one.get("dial") for one in (made, ours)]
    if made["model"].get("options") == ours["model"].get("options"):
        return
    cosines = [1.0 if dial is None else dial.get("cosine") for dial in dials]
    known = [cosine for cosine in cosines if cosine is not None]
    how = "it is not known how well the two agree (`tempme bench dial --save` measures it)"
    if len(known) == len(cosines):
        least = math.cos(min(math.pi, sum(math.acos(min(1.0, cosine)) for cosine in known)))
        if least >= LEAST_TOGETHER:
            return
        how = (
            f"the two agree only to a cosine of {least:.4f}, where {LEAST_TOGETHER} is needed to "
            "search both together"
        )
    from tempme_jax.dial import describe_options

    settings = [describe_options(dial["options"]) if dial else "as trained" for dial in dials]
    raise VideoIndexError(
        f"the index {uri} holds vectors of the setting {settings[0]}, and this speed means "
        f"{settings[1]}: {how}; leave --speed out, or rebuild the index with --rebuild"
    )
