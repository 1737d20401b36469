"""Read config files field by field: each is obeyed, refused, or known to change nothing."""

import dataclasses
import math
from collections.abc import Collection, Mapping
from typing import Any

from tempme_jax.fields import check_type
from tempme_jax.networks.architecture import MEAN, STD, Architecture
from tempme_jax.weights.errors import WeightsError


@dataclasses.dataclass
class Description:
    """What config files say of a model that no array shows.

    Attributes:
        heads, text_heads: number of heads of the towers; None = not said.
        head_width: width of the heads of the video tower; None = not said.
        activation: of the MLPs; None = not said.
        mean, std: by which pixels are normalised.
        sizes: fields of `Architecture` -> (field of the config, value), to be compared with arrays.
        mlp_ratios: tower -> (field of the config, width inside the MLPs over that of a token).
        problems: what the files ask for that tempme_jax does not compute.
        source: name of the file that told the activation.
    """

    heads: int | None = None
    text_heads: int | None = None
    head_width: int | None = None
    activation: str | None = None
    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD
    sizes: dict[str, tuple[str, int]] = dataclasses.field(default_factory=dict)
    mlp_ratios: dict[str, tuple[str, float]] = dataclasses.field(default_factory=dict)
    problems: list[str] = dataclasses.field(default_factory=list)
    source: str = ""

    def refuse(self, field: str, value: Any, allowed: Any) -> None:
        """Note a field whose value is not what tempme_jax computes with."""
        self.problems.append(f"{field}={value!r:.99}, but tempme_jax computes with {allowed}")

    def raise_problems(self) -> None:
        """Raise a WeightsError if the files ask for what tempme_jax does not compute."""
        if self.problems:
            raise WeightsError("; ".join(self.problems))

    def compare(self, arch: Architecture) -> None:
        """Raise a WeightsError if the sizes in the files are not those that the arrays show."""
        widths = {"video": arch.width, "text": arch.text_width}
        shown = dataclasses.asdict(arch)
        shown |= {f"mlp_{tower}": arch.get_mlp_width(tower) for tower in widths}
        for name, (field, value) in self.sizes.items():
            if value != shown[name]:
                self.problems.append(f"{field}={value!r:.99}, but the arrays show {shown[name]}")
        for tower, (field, ratio) in self.mlp_ratios.items():
            inside = shown[f"mlp_{tower}"]
            if not math.isfinite(ratio) or int(widths[tower] * ratio) != inside:
                self.problems.append(
                    f"{field}={ratio}, but the arrays show {inside} of {widths[tower]}"
                )
        self.raise_problems()


class Section:
    """An object in a config file, whose fields have a default where they are missing or null.

    `name` is its path in the file, or the name of the file with a colon.
    """

    def __init__(self, name: str, fields: Mapping[str, Any] | None, description: Description):
        self.name, self.description = name, description
        self.fields: Mapping[str, Any] = check_type(name, fields, dict[str, Any] | None) or {}
        self.read: set[str] = set()

    def get(self, field: str, kind: Any, default: Any = None) -> Any:
        """Return the value of a field, of a type; raise a ValueError for another type."""
        self.read.add(field)
        value = self.fields.get(field)
        return default if value is None else check_type(self.join(field), value, kind)

    def require(self, field: str, *allowed: Any, default: Any = None) -> None:
        """Refuse a field whose value, or default, is none of those allowed."""
        self.read.add(field)
        value = self.fields.get(field)
        value = default if value is None else value
        if value is not None and not any(is_same(value, one) for one in allowed):
            listed = " or ".join(dict.fromkeys(repr(one) for one in allowed if one != ""))
            self.description.refuse(self.join(field), value, listed or "none")

    def refuse_others(self, ignored: Collection[str]) -> None:
        """Refuse the fields that were not read, but those ignored and those switched off."""
        for field, value in self.fields.items():
            if field not in self.read and field not in ignored and value not in (None, False):
                self.description.problems.append(
                    f"{self.join(field)}={value!r:.99}, which tempme_jax does not know"
                )

    def compare(self, field: str, size: str) -> None:
        """Note a size, which the arrays must show as well; `size` is a field of `Architecture`."""
        value = self.get(field, int)
        if value is not None:
            self.description.sizes[size] = self.join(field), value

    def join(self, field: str) -> str:
        """Return the path of a field."""
        return f"{self.name}.{field}".replace(":.", ": ") if self.name else field


def is_same(value: Any, other: Any) -> bool:
    """Return whether two values of JSON are the same; 1 and 1.0 are, 1 and true are not.

    >>> is_same(1, 1.0), is_same(1, True), is_same([1], 1)
    (True, False, False)
    """
    numbers = (int, float)
    if type(value) in numbers and type(other) in numbers:
        return abs(value - other) <= 1e-6 * abs(other)
    return type(value) is type(other) and value == other


def read_colours(section: Section, field: str, default: tuple[float, ...]) -> tuple[float, ...]:
    """Return a number for each colour, of a list of three or of one number for all."""
    value = section.get(field, float | list[float], default)
    return (value,) * 3 if isinstance(value, float | int) else tuple(value)
