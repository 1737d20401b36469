"""Costs of methods on a backbone, counted from its sizes without weights."""

import dataclasses
import math
from collections.abc import Sequence

from tempme_jax import methods
from tempme_jax.checks import require_one_of
from tempme_jax.costs import count_costs
from tempme_jax.networks.architecture import ARCHITECTURES
from tempme_jax.networks.backbones import make_network
from tempme_jax.parameters import find_shapes
from tempme_jax.screen import make_console, make_table


@dataclasses.dataclass(frozen=True)
class BackboneCost:
    """What one video costs with a method on a backbone.

    Attributes:
        backbone, method: their names.
        frames: frames of a video.
        parameters: count of all parameters, of both towers.
        trainable: count of those that train.
        megabytes: size of all parameters in float32, in units of 1e6 bytes.
        mac: multiply-accumulates of the video tower, in units of 1e9.
        share: of those of the first method, from 0 to 1.
        tokens: tokens at the output.
        reducer: the options of the reducer that are numbers or lists of them.
    """

    backbone: str
    method: str
    frames: int
    parameters: int
    trainable: int
    megabytes: float
    mac: float
    share: float
    tokens: int
    reducer: str


def count_backbones(
    backbones: Sequence[str], names: Sequence[str], frames: int
) -> list[BackboneCost]:
    """Count the costs of methods on backbones; each is compared with the first method there.

    Raises:
        ValueError: if a name is unknown, or a method does not fit a backbone.
    """
    rows: list[BackboneCost] = []
    for backbone in backbones:
        first: float | None = None
        for name in names:
            row = count_method(backbone, name, frames, first)
            first = first or row.mac
            rows.append(row)
    return rows


def count_method(backbone: str, name: str, frames: int, first: float | None) -> BackboneCost:
    """Count the costs of a method on a backbone; `first` is what its share is of, None = itself.

    >>> row = count_method("ViT-B/32", "tempme", 12, first=52.94)
    >>> row.parameters, round(row.share, 3), row.reducer
    (151784961, 0.656, 'r=2 layers=8,9,10 groups=2,2,3 keep_cross=0.7 keep_intra=0.9')
    """
    arch = ARCHITECTURES[require_one_of(backbone, ARCHITECTURES, "backbone")]
    adapter, reducer = methods.build(name, arch, frames)
    network = make_network(arch, adapter, reducer)
    cost = count_costs(network, frames)
    parameters = sum(map(math.prod, find_shapes(network, frames).values()))
    return BackboneCost(
        backbone=backbone,
        method=name,
        frames=frames,
        parameters=parameters,
        trainable=cost.trainable,
        megabytes=4 * parameters / 1e6,
        mac=cost.mac,
        share=cost.mac / (first or cost.mac),
        tokens=cost.tokens,
        reducer=describe_numbers(dataclasses.asdict(reducer)),
    )


def describe_numbers(options: dict) -> str:
    """Return the options that are numbers, or lists of a few.

    >>> describe_numbers({"r": 2, "layers": (8, 9), "round_kept": False, "name": "x"})
    'r=2 layers=8,9'
    """
    shown = {
        name: value
        for name, value in options.items()
        if not isinstance(value, bool | str | None) and not (name == "position_std" and not value)
    }
    return " ".join(
        f"{name}={','.join(map(str, value)) if isinstance(value, tuple) else value}"
        for name, value in shown.items()
    )


def print_backbone_costs(rows: list[BackboneCost]) -> None:
    """Print what methods cost on backbones, and their settings there."""
    left = ("Backbone", "Method")
    table = make_table(
        f"Costs of the video tower for one video of {rows[0].frames} frames",
        (*left, "Parameters (M)", "Float32 (MB)", "Trains (M)", "GMAC", "Share", "Tokens"),
        left=left,
    )
    last = None
    for row in rows:
        if last not in (None, row.backbone):
            table.add_section()
        table.add_row(
            "" if row.backbone == last else row.backbone,
            *(row.method, f"{row.parameters / 1e6:,.1f}", f"{row.megabytes:,.0f}"),
            *(f"{row.trainable / 1e6:.3f}", f"{row.mac:,.1f}", f"{row.share:.1%}", str(row.tokens)),
        )
        last = row.backbone
    out = make_console()
    out.print(table)
    out.print("GMAC: 1e9 multiply-accumulates. Share: of those of the first method.")
    for row in rows:
        if row.reducer:
            out.print(f"{row.backbone}, {row.method}: {row.reducer}", markup=False)
