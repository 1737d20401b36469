"""The speeds of a model at the settings of its dial, and the choice of a setting by them.

`tempme bench dial` measures them on a data set, and keeps the curve in the user's cache, by the
model's fingerprint and the device. Where there is none, multiply-accumulates are counted.
"""

import dataclasses
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tempme_jax.compile_cache import find_home_folder
from tempme_jax.dial import count_speed, describe_options, list_settings
from tempme_jax.fields import parse_fields
from tempme_jax.files import write_text
from tempme_jax.fingerprint import compute_fingerprint, describe_model

if TYPE_CHECKING:
    from tempme_jax.model import Model


@dataclasses.dataclass(frozen=True, kw_only=True)
class DialPoint:
    """A model at one setting of its dial.

    Attributes:
        options: options of the reducer.
        is_trained: whether the model was trained with them, as far as it was loaded so.
        tokens: tokens at the output, over all clips.
        gmacs: 1e9 multiply-accumulates of a video.
        videos_per_second: speed of the fastest tenth of the calls.
        speed: as a multiple of that of the trained setting.
        counted: the multiple that multiply-accumulates alone would give.
        over_plain: as a multiple of the speed of the backbone that keeps every token.
        text_to_video, video_to_text: recalls in percent, and ranks.
        cosine_mean, cosine_least: mean and least cosine of the vector of a video and that of the
            trained setting.
        on_front: whether no other setting is both as fast and as good in the recall of the best.
    """

    options: dict[str, Any]
    is_trained: bool
    tokens: int
    gmacs: float
    videos_per_second: float
    speed: float
    counted: float
    over_plain: float
    text_to_video: dict[str, float]
    video_to_text: dict[str, float]
    cosine_mean: float
    cosine_least: float
    on_front: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class DialCurve:
    """A model at all settings of its dial, measured on a split of a data set.

    Attributes:
        model: where the model comes from.
        method: its method.
        fingerprint: hash of everything that changes its vectors.
        device: kind of the device.
        date: day of the measurement.
        version: version of this package.
        dataset, split, videos, texts, id_hash: what it was measured on.
        batch: videos in a call.
        rounds: calls of each setting.
        points: the settings, in the order that they were given.
    """

    model: str
    method: str
    fingerprint: str
    device: str
    date: str
    version: str
    dataset: str
    split: str
    videos: int
    texts: int
    id_hash: str
    batch: int
    rounds: int
    points: list[DialPoint]


@dataclasses.dataclass(frozen=True)
class Choice:
    """A setting for a speed that was asked for.

    Attributes:
        options: options of the reducer; empty for those of the model.
        speed: its speed, as a multiple of the model's.
        cosine: least cosine of a vector and that of the model; None if it was not measured.
        words: how it was found.
    """

    options: dict[str, Any]
    speed: float
    cosine: float | None
    words: str


def name_device(model: "Model") -> str:
    """Return the kind of the device of a model."""
    return model.device.device_kind if model.device else "several devices"


def locate_curve(fingerprint: str, device: str) -> Path:
    """Return the place of a curve in the user's cache."""
    kind = re.sub(r"\W+", "-", device.lower())
    return find_home_folder() / "dials" / f"{fingerprint[:16]}-{kind}.json"


def keep_curve(curve: DialCurve) -> Path:
    """Keep a curve in the user's cache, in place of an earlier one, and return where."""
    file = locate_curve(curve.fingerprint, curve.device)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, json.dumps(dataclasses.asdict(curve), indent=1) + "\n")
    return file


def find_curve(model: "Model") -> DialCurve | None:
    """Return the curve of a model on its device; None if the user's cache holds none.

    One that is damaged is passed over, with a line on standard error.
    """
    fingerprint = compute_fingerprint(describe_model(model))
    try:
        file = locate_curve(fingerprint, name_device(model))
        curve: DialCurve = parse_fields(file.read_bytes(), DialCurve, file.name)
    except (FileNotFoundError, RuntimeError):  # Path.home() raises RuntimeError
        return None
    except (OSError, ValueError) as error:
        print(f"The measured speeds in {file} cannot be read ({error})", file=sys.stderr)
        return None
    return curve if curve.fingerprint == fingerprint else None


def choose_setting(model: "Model", asked: float) -> Choice:
    """Choose a setting that is at least so many times as fast as the model itself.

    Of several, it is the one with the best recall (R-Sum from text to video); if that was not
    measured, the one that merges least.

    Args:
        model: the model, whose dial is not turned.
        asked: the multiple; 1 is the model itself.

    Raises:
        ValueError: if the method has no dial, or no setting is so fast; it says what is the most.
    """
    if asked == 1:
        return Choice({}, 1.0, 1.0, "")
    if not list_settings(model.network, model.num_frames):
        raise ValueError(
            f"method {model.method!r} has no option that merges more or fewer tokens, so it has "
            "one speed; leave the speed out, or take a model of a method such as tempme or tome"
        )
    curve = find_curve(model)
    found = list_measured(curve) if curve else list_counted(model)
    for choice in found:
        if choice.speed >= asked:
            return choice
    most = max(found, key=lambda one: one.speed)
    raise ValueError(
        f"the model can be made {round_down(most.speed)} times as fast at the most, by "
        f"{describe_options(most.options)} ({most.words}), not {asked:g} times; give a speed of "
        f"{round_down(most.speed)}x or less"
    )


def list_measured(curve: DialCurve) -> list[Choice]:
    """List the settings of a curve, the one with the best recall first."""
    own = next((point for point in curve.points if point.is_trained), None)
    beside = f"; the model's own setting has {own.text_to_video['R@1']:.1f}" if own else ""
    return [
        Choice(
            point.options, point.speed, point.cosine_least,
            f"measured on {curve.date}, R@1 {point.text_to_video['R@1']:.1f} on {curve.dataset}"
            f"{beside}",
        )
        for point in sorted(curve.points, key=compute_quality, reverse=True)
    ]  # fmt: skip


def list_counted(model: "Model") -> list[Choice]:
    """List the settings of a model, the slowest first, with speeds by multiply-accumulates."""
    network, frames = model.network, model.num_frames
    words = "by counted multiply-accumulates; `tempme bench dial --save` measures seconds"
    return [
        Choice(options, count_speed(network, frames, options), None, words)
        for options in list_settings(network, frames)
    ]


def compute_quality(point: DialPoint) -> float:
    """Return the sum of the recalls from text to video."""
    return sum(value for name, value in point.text_to_video.items() if name.startswith("R@"))


def round_down(speed: float) -> str:
    """Return a speed with two decimals, rounded down."""
    return f"{int(100 * speed) / 100:.2f}"
