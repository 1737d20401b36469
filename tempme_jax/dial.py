"""The dial: one trained model at other settings of its reducer, slower or faster.

A reducer decides from its options which tokens it merges or drops; most of these options belong to
no parameter. So a trained model runs with others, too. See docs/guides/dial.md.
"""

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from tempme_jax.adapters.base import Adapter
from tempme_jax.methods import replace_options
from tempme_jax.networks.macs import count_macs, list_stages
from tempme_jax.networks.network import Network
from tempme_jax.parameters import find_shapes
from tempme_jax.reducers.base import Reducer

if TYPE_CHECKING:  # it imports this module
    from tempme_jax.model import Model

# How strongly the settings merge that are tried on a model, see `Reducer.scale`.
STRENGTHS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
# The paper's names of options, which are shorter.
NAMES = {"keep_cross": "R_C", "keep_intra": "R_I"}


@dataclasses.dataclass(frozen=True)
class Dial:
    """What the dial of a model was turned from, and why.

    Attributes:
        trained: the reducer of the model as it was loaded.
        speed: the speed that was asked for, as a multiple of that of `trained`; None if options
            were given.
        cosine: least cosine of a vector and that of `trained`, as far as it was measured.
    """

    trained: Reducer
    speed: float | None = None
    cosine: float | None = None


def turn_dial(model: "Model", options: dict[str, Any]) -> "Model":
    """Return a model with the same parameters and other options of its reducer.

    The options are in place of those that the model was loaded with; without any, it is that model.

    Raises:
        ValueError: if an option is not one of the reducer, does not fit the backbone and the number
            of frames, or needs other parameters than those that the model has.
    """
    trained = get_trained_reducer(model)
    reducer = change_reducer(model.network.copy(reducer=trained), model.num_frames, options)
    if reducer == model.reducer:
        return model
    dialed = None if reducer == trained else Dial(trained)
    network = model.network.copy(reducer=reducer)
    return dataclasses.replace(model, network=network, dialed=dialed)


def list_changes(before: Reducer, now: Reducer) -> dict[str, Any]:
    """Return the options that differ between two reducers of one kind, as they are now."""
    values = dataclasses.asdict(now)
    return {name: value for name, value in values.items() if value != getattr(before, name)}


def get_trained_reducer(model: "Model") -> Reducer:
    """Return the reducer of a model before its dial was turned."""
    return model.dialed.trained if model.dialed else model.reducer


def change_reducer(network: Network, num_frames: int, options: dict[str, Any]) -> Reducer:
    """Return the reducer of a network with other options, which fit its parameters.

    Raises:
        ValueError: as of `turn_dial`.
    """
    reducer, arch = network.reducer, network.arch
    names = [field.name for field in dataclasses.fields(reducer)]
    if options and not names:
        raise ValueError(
            "the model keeps every token, so it has no dial; take one that merges tokens, such as "
            "of the method tempme or tome"
        )
    for field in dataclasses.fields(network.adapter):
        if field.name in options:
            raise ValueError(
                f"{field.name!r} is an option of what was learned, which the dial leaves as it is; "
                f"it changes {', '.join(names)}"
            )
    method = type(reducer).__name__.lower()
    _, changed = replace_options(method, Adapter(), reducer, options)
    changed = changed.resolve(
        patches=arch.patches, frames=num_frames, depth=arch.depth, n_cls=arch.class_tokens
    )
    if changed == reducer:
        return reducer
    now = network.copy(reducer=changed)
    network.adapter.check(list_stages(now, num_frames), arch)
    had, needs = (find_shapes(one, num_frames) for one in (network, now))
    if had != needs:
        differ = (path for path in had.keys() | needs.keys() if had.get(path) != needs.get(path))
        given = ", ".join(f"{name}={value}" for name, value in options.items())
        raise ValueError(
            f"{given}: the model has not learned the parameters for it (first, "
            f"{'/'.join(min(differ))}); the dial takes only options that need no others"
        )
    return changed


def list_settings(network: Network, num_frames: int) -> list[dict[str, Any]]:
    """List settings of a network's reducer, each faster than those before; empty if it has none."""
    found: list[dict[str, Any]] = []
    fastest = 0.0
    for strength in STRENGTHS:
        options = fit_options(network, num_frames, strength)
        speed = count_speed(network, num_frames, options) if options else 0.0
        if speed > fastest:
            found.append(options)
            fastest = speed
    return found


def fit_options(network: Network, num_frames: int, strength: float) -> dict[str, Any]:
    """Return options of the reducer that remove so many times as many tokens, where they can.

    They are empty if no option of the reducer does. Where r tokens cannot merge in every block, it
    becomes a list of as many as can.
    """
    options = network.reducer.scale(strength)
    if not options or is_possible(network, num_frames, options):
        return options
    if not isinstance(options.get("r"), int):
        return {}
    most, counts = options["r"], []
    for _ in range(network.arch.depth):
        fits = (n for n in range(most, 0, -1)
                if is_possible(network, num_frames, options | {"r": (*counts, n)}))  # fmt: skip
        counts.append(next(fits, 0))
    if not is_possible(network, num_frames, options | {"r": tuple(counts)}):
        return {}
    while counts and is_same(network, num_frames, options, counts):
        counts.pop()
    return options | {"r": tuple(counts)}


def is_possible(network: Network, num_frames: int, options: dict[str, Any]) -> bool:
    """Return whether a network has a schedule with other options of its reducer."""
    try:
        change_schedule(network, num_frames, options)
    except ValueError:
        return False
    return True


def is_same(network: Network, num_frames: int, options: dict[str, Any], counts: list[int]) -> bool:
    """Return whether the last of `counts` merges nothing."""
    both = (options | {"r": tuple(r)} for r in (counts, counts[:-1]))
    first, second = (
        list_stages(change_schedule(network, num_frames, one), num_frames) for one in both
    )
    return first == second


def change_schedule(network: Network, num_frames: int, options: dict[str, Any]) -> Network:
    """Return a network with other options of its reducer, whose schedule is possible.

    Parameters are not compared.
    """
    changed = network.copy(reducer=dataclasses.replace(network.reducer, **options))
    network.adapter.check(list_stages(changed, num_frames), network.arch)
    return changed


def count_speed(network: Network, num_frames: int, options: dict[str, Any]) -> float:
    """Return the speed that multiply-accumulates alone would give, as a multiple of the present."""
    changed = change_schedule(network, num_frames, options)
    return count_macs(network, num_frames)[0] / count_macs(changed, num_frames)[0]


def describe_options(options: dict[str, Any]) -> str:
    """Return options in words.

    >>> describe_options({"r": (4, 2), "keep_cross": 0.7})
    'r=4-2 R_C=0.7'
    """
    words = ((NAMES.get(name, name), format_option(value)) for name, value in options.items())
    return " ".join(map("=".join, words))


def format_option(value: Any) -> str:
    """Return the value of an option as the command line takes it."""
    return "-".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def parse_options(text: str) -> dict[str, Any]:
    """Return the options of a setting, such as "r=4 R_C=0.5" or "r=8-4-2".

    Raises:
        ValueError: if they cannot be read.

    >>> parse_options("r=8-4-2 R_C=0.5"), parse_options("gate=false")
    ({'r': (8, 4, 2), 'keep_cross': 0.5}, {'gate': False})
    """
    options: dict[str, Any] = {}
    for word in text.replace(",", " ").split():
        name, equals, value = word.partition("=")
        if not (name and equals and value):
            raise ValueError(
                f"the setting {text!r} must name options and their values, such as 'r=4 R_C=0.5'"
            )
        try:
            parts = [json.loads(part) for part in value.split("-")]
        except ValueError:
            parts = [value]
        name = next((long for long, short in NAMES.items() if name == short), name)
        options[name] = tuple(parts) if len(parts) > 1 else parts[0]
    return options
