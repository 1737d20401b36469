"""Draw the frames of the variant `hard` of `moving_shapes`: two shapes that move one after another.

One shape goes around a corner, with two moves; the other one crosses the frame, with one.
Something small that no caption speaks of moves, too. Each shape has half of the frames. So a scene
in which the other one moves first, or the crossing goes the other way, has the same frames, up to
noise, in another order.
"""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from tempme_jax.datasets.shapes import (
    COLOURS,
    DIRECTIONS,
    LEG,
    OPPOSITE,
    SHAPES,
    SIDE,
    compute_coverage,
)

# The colours of a pair of shapes: every two colours belong together somewhere.
PAIRS = {
    ("circle", "square"): (("red", "green"), ("blue", "yellow")),
    ("circle", "triangle"): (("red", "blue"), ("green", "yellow")),
    ("square", "triangle"): (("red", "yellow"), ("green", "blue")),
}
# What a hard negative differs in.
KINDS = ("order", "object", "colour", "direction")
# Frames of a part: of the two moves around the corner, and of the crossing. If 16 of all are
# sampled, it is the middle one of every three; a crossing that runs backwards has the same.
PART = 24
FRAMES = 2 * PART
# In pixels: range of the radius of a shape, and of what distracts; largest distance of the middle
# of a path from the middle of the frame, along each axis; length of the crossing.
RADIUS = (8.0, 11.0)
SMALL = (2.0, 3.5)
SHIFT = 3.0
CROSSING = 56.0
NOISE = 1.0


@dataclasses.dataclass(frozen=True, order=True)
class Figure:
    """A shape with its colour."""

    colour: str
    shape: str

    def __str__(self) -> str:
        return f"a {self.colour} {self.shape}"


@dataclasses.dataclass(frozen=True, order=True)
class Scene:
    """Three moves of two figures.

    Attributes:
        turning: the figure that goes around a corner.
        corner: its two directions.
        crossing: the figure that crosses the frame.
        direction: its direction.
        turns_first: whether it is the first that moves first.
    """

    turning: Figure
    corner: tuple[str, str]
    crossing: Figure
    direction: str
    turns_first: bool = True

    @property
    def caption(self) -> str:
        """Caption, such as "a red circle moves left then up then a green square right"."""
        path = " then ".join(self.corner)
        if self.turns_first:
            return f"{self.turning} moves {path} then {self.crossing} {self.direction}"
        return f"{self.crossing} moves {self.direction} then {self.turning} {path}"

    @property
    def leader(self) -> "Scene":
        """The first, in order, of the scenes with the same frames, which are a group."""
        return list_group(self, ("order", "direction"))[0]

    @property
    def look(self) -> "Scene":
        """The first, in order, of the scenes that may look alike but for what they differ in."""
        return list_group(self)[0]

    def draw(self, look: np.random.Generator, noise: np.random.Generator) -> np.ndarray:
        """Draw the frames; see the function `draw`."""
        return draw(self, look, noise)

    def negate(self, kind: str) -> "Scene":
        """Return the scene that differs in one thing, of a kind of `KINDS`."""
        one, other = self.turning, self.crossing
        changes = {
            "order": {"turns_first": not self.turns_first},
            "object": {"turning": other, "crossing": one},
            "colour": {
                "turning": dataclasses.replace(one, colour=other.colour),
                "crossing": dataclasses.replace(other, colour=one.colour),
            },
            "direction": {"direction": OPPOSITE[self.direction]},
        }
        return dataclasses.replace(self, **changes[kind])


def list_scenes() -> list[Scene]:
    """Return the 384 scenes; every 16 neighbours look alike but for what they differ in."""
    corners = itertools.product(("left", "right"), ("up", "down"))
    looks = [(shapes, pair) for shapes, pairs in PAIRS.items() for pair in pairs]
    return [
        scene
        for (shapes, colours), corner in itertools.product(looks, corners)
        for one, other in [map(Figure, colours, shapes)]
        for scene in list_group(Scene(one, corner, other, "left"))
    ]


def list_group(scene: Scene, kinds: Sequence[str] = KINDS) -> list[Scene]:
    """Return the scenes that negation of some kinds leads to, and the scene, in a fixed order."""
    group = [scene]
    for kind in kinds:
        group += [one.negate(kind) for one in group]
    return sorted(group)


def draw(scene: Scene, look: np.random.Generator, noise: np.random.Generator) -> np.ndarray:
    """Draw the frames of a scene, uint8 [48, 64, 64, 3].

    Args:
        scene: the scene.
        look: generator of places, sizes and shades; scenes with one `look` share it.
        noise: generator of the noise of every pixel.
    """
    background, centres = look.uniform(20, 90), look.uniform(-SHIFT, SHIFT, (2, 2)) + SIDE / 2
    # By shapes, which keep their sizes and shades when colours or paths change.
    sizes = {shape: (look.uniform(*RADIUS), look.uniform(0.8, 1.1)) for shape in SHAPES}
    used = {scene.turning.colour, scene.crossing.colour}
    colour = look.choice(sorted(COLOURS.keys() - used))
    stray = Figure(str(colour), str(look.choice(SHAPES)))
    size = look.uniform(*SMALL), look.uniform(0.8, 1.1)
    parts = []
    for figure, path in (
        (scene.turning, go_around(scene.corner, centres[0])),
        (scene.crossing, cross(scene.direction, centres[1])),
    ):
        part = np.full((len(path), SIDE, SIDE, 3), background)
        start, end = look.uniform(0, SIDE, (2, 2))
        paint(part, stray, np.linspace(start, end, len(path)), *size)
        # What distracts runs backwards with a crossing that does.
        backwards = figure == scene.crossing and scene.direction == "left"
        part = part[::-1] if backwards else part
        paint(part, figure, path, *sizes[figure.shape])
        parts.append(part)
    clean = np.concatenate(parts if scene.turns_first else parts[::-1])
    return np.clip(np.rint(clean + noise.normal(0, NOISE, clean.shape)), 0, 255).astype(np.uint8)


def go_around(corner: tuple[str, str], centre: np.ndarray) -> np.ndarray:
    """Return the places (x, y) of a figure that makes two moves around a corner, float [24, 2]."""
    first, second = (np.array(DIRECTIONS[name]) for name in corner)
    time = 2 * (np.arange(PART)[:, None] + 0.5) / PART
    moved = np.minimum(time, 1) * first + np.maximum(time - 1, 0) * second
    return centre + LEG * (moved - (first + second) / 2)


def cross(direction: str, centre: np.ndarray) -> np.ndarray:
    """Return the places (x, y) of a figure that crosses the frame, float [24, 2]."""
    time = (np.arange(PART)[:, None] + 0.5) / PART
    return centre + CROSSING * (time - 0.5) * np.array(DIRECTIONS[direction])


def paint(
    frames: np.ndarray, figure: Figure, centres: np.ndarray, radius: float, shade: float
) -> None:
    """Paint a figure over frames [t, 64, 64, 3]."""
    inside = compute_coverage(figure.shape, centres, radius)[..., None]
    frames += (np.array(COLOURS[figure.colour]) * shade - frames) * inside
