"""Read config files field by field: each is obeyed, refused, or known to change nothing."""

import dataclasses
import logging
import math
from collections.abc import Collection, Mapping
from typing import Any

from tempme_jax.fields import check_type
from tempme_jax.networks.architecture import LIMITS, MEAN, STD, Architecture, require_colours
from tempme_jax.weights.errors import WeightsError

log = logging.getLogger(__name__)

# Fields of a `Description` that only one of several files can decide.
DECIDED = ("heads", "text_heads", "head_width", "activation", "mean", "std", "resize")


@dataclasses.dataclass
class Description:
    """What a config file says of a model that no array shows; None = it does not say it.

    Attributes:
        source: name of the file.
        heads, text_heads: number of heads of the towers.
        head_width: width of the heads of the video tower.
        activation: of the MLPs.
        mean, std: by which pixels are normalised.
        resize: how a frame becomes a square.
        sizes: (field of `Architecture`, field of the config, value), to be compared with arrays.
        mlp_ratios: (tower, field of the config, width inside the MLPs over that of a token).
        problems: what the file asks for that tempme_jax does not compute.
        tokenizer, vocabulary: name and content of a tokenizer that lies with the weights, see
            `text.from_json`; empty for those that come with the package.
    """

    source: str = ""
    heads: int | None = None
    text_heads: int | None = None
    head_width: int | None = None
    activation: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    resize: str | None = None
    sizes: list[tuple[str, str, int]] = dataclasses.field(default_factory=list)
    mlp_ratios: list[tuple[str, str, float]] = dataclasses.field(default_factory=list)
    problems: list[str] = dataclasses.field(default_factory=list)
    tokenizer: str = ""
    vocabulary: str = ""

    def add(self, other: "Description") -> None:
        """Add what another file says; where both decide the same, this one counts, and logs it."""
        self.sizes += other.sizes
        self.mlp_ratios += other.mlp_ratios
        self.problems += other.problems
        for name in DECIDED:
            ours, theirs = getattr(self, name), getattr(other, name)
            if ours is None:
                setattr(self, name, theirs)
            elif theirs not in (None, ours):
                log.warning(
                    "%s: %s is %s, which does not count: before it comes %s", other.source, name,
                    theirs, ours,
                )  # fmt: skip

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
        for name, field, value in self.sizes:
            if value != shown[name]:
                self.problems.append(f"{field}={value!r:.99}, but the arrays show {shown[name]}")
        for tower, field, ratio in self.mlp_ratios:
            inside = shown[f"mlp_{tower}"]
            if not math.isfinite(ratio) or int(widths[tower] * ratio) != inside:
                self.problems.append(
                    f"{field}={ratio}, but the arrays show {inside} of {widths[tower]}"
                )
        if self.head_width and arch.width // self.head_width != arch.heads:
            self.problems.append(f"head_width={self.head_width}, but {arch.heads} heads")
        self.raise_problems()


class Section:
    """An object in a config file, whose fields have a default where they are missing or null.

    `name` is the name of the file with a colon, followed by the path in it.
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
        """Refuse the fields that were not read, but those ignored and those switched off.

        What is null, false, 0 or empty is switched off.
        """
        for field, value in self.fields.items():
            if field not in self.read and field not in ignored and value:
                self.description.problems.append(
                    f"{self.join(field)}={value!r:.99}, which tempme_jax does not know"
                )

    def compare(self, field: str, size: str) -> None:
        """Note a size, which the arrays must show as well; `size` is a field of `Architecture`."""
        value = self.get(field, int)
        if value is not None:
            self.description.sizes.append((size, self.join(field), value))

    def join(self, field: str) -> str:
        """Return the path of a field."""
        return f"{self.name}.{field}".replace(":.", ": ")

    def enter(self, field: str) -> "Section":
        """Return the section in a field."""
        return Section(self.join(field), self.get(field, dict), self.description)


def is_same(value: Any, other: Any) -> bool:
    """Return whether two values of JSON are the same; 1 and 1.0 are, 1 and true are not.

    >>> is_same(1, 1.0), is_same(1, True), is_same([1], 1)
    (True, False, False)
    """
    numbers = (int, float)
    if type(value) in numbers and type(other) in numbers:
        return abs(value - other) <= 1e-6 * abs(other)
    return type(value) is type(other) and value == other


def read_colours(section: Section, field: str, kind: str) -> tuple[float, ...]:
    """Return a mean or deviation for each colour, of a list of three or of one number for all.

    `kind` is "mean" or "std"; those of CLIP are the default.
    """
    default = {"mean": MEAN, "std": STD}[kind]
    value = section.get(field, float | list[float], default)
    try:
        return require_colours(kind, (value,) * 3 if isinstance(value, float | int) else value)
    except ValueError:
        least, most = LIMITS[kind]
        allowed = f"three numbers in {least:g} .. {most:g}, of pixels in 0 .. 1"
        section.description.refuse(section.join(field), value, allowed)
        return default


def compare_square(section: Section, field: str, size: str) -> None:
    """Note the side of a square, which is given as one number or as two; see `Section.compare`."""
    add_square(section, field, section.get(field, int | list[int]), size)


def add_square(section: Section, field: str, sides: int | list[int] | None, size: str) -> None:
    """Note the side of a square that a field gives; refuse a field with sides of two lengths."""
    if isinstance(sides, list):
        if len(sides) != 2 or sides[0] != sides[1]:
            section.description.refuse(section.join(field), sides, "squares")
            return
        sides = sides[0]
    if sides is not None:
        section.description.sizes.append((size, section.join(field), sides))
