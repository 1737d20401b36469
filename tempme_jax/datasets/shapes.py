"""What `moving_shapes` shows: coloured shapes that move in two legs, drawn frame by frame.

A motion and its reverse show the same pictures in the opposite order: the frames of one are those
of the other up to noise. What a shape and a corner are can be read off single frames; which leg
came first only off their order.
"""

import dataclasses
import itertools

import numpy as np

COLOURS = {
    "red": (220, 50, 50),
    "green": (60, 180, 75),
    "blue": (60, 90, 220),
    "yellow": (230, 210, 60),
}
SHAPES = ("circle", "square", "triangle")
DIRECTIONS = {"right": (1, 0), "left": (-1, 0), "up": (0, -1), "down": (0, 1)}
OPPOSITE = {"right": "left", "left": "right", "up": "down", "down": "up"}

# Pixels: the side of a frame, the length of a leg, and the largest radius of a shape.
SIDE = 64
LEG = 28
RADIUS = (8.0, 11.0)
# How far the whole path may lie off the middle.
SHIFT = 3.0
# Three for each of the 8 frames that are sampled from the middles of equal spans of time: the
# middle one of three is the same one backwards, so that no sampled frame tells the direction.
FRAMES = 24
NOISE = 5.0


@dataclasses.dataclass(frozen=True, order=True)
class Motion:
    """A shape that moves first one way, then another at a right angle to it."""

    colour: str
    shape: str
    first: str
    second: str

    @property
    def caption(self) -> str:
        """What is seen, in words."""
        return f"a {self.colour} {self.shape} moves {self.first} then {self.second}"

    @property
    def reverse(self) -> "Motion":
        """The motion that shows the same frames backwards."""
        return dataclasses.replace(self, first=OPPOSITE[self.second], second=OPPOSITE[self.first])


def all_motions() -> list[Motion]:
    """The 96 motions: 4 colours, 3 shapes, 8 paths."""
    legs = itertools.product(DIRECTIONS, DIRECTIONS)
    paths = [(a, b) for a, b in legs if b not in (a, OPPOSITE[a])]
    return [Motion(*kind, *path) for kind in itertools.product(COLOURS, SHAPES) for path in paths]


def draw(motion: Motion, look: np.random.Generator, noise: np.random.Generator) -> np.ndarray:
    """The frames of a motion, uint8 [24, 64, 64, 3].

    Args:
        motion: what moves where.
        look: draws place, size and shade; a motion and its reverse share it.
        noise: draws the noise of every pixel.
    """
    radius = look.uniform(*RADIUS)
    corner = (SIDE - LEG) / 2 + look.uniform(-SHIFT, SHIFT, 2)  # of the square around the path
    background = look.uniform(20, 90)
    paint = np.array(COLOURS[motion.colour]) * look.uniform(0.8, 1.1)
    inside = coverage(motion.shape, places(motion, corner), radius)[..., None]
    clean = background + (paint - background) * inside
    noisy = clean + noise.normal(0, NOISE, clean.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def places(motion: Motion, corner: np.ndarray) -> np.ndarray:
    """The centre of the shape in every frame, float [24, 2] (x, y), at a steady speed."""
    first, second = np.array(DIRECTIONS[motion.first]), np.array(DIRECTIONS[motion.second])
    start = corner + LEG * ((first < 0) | (second < 0))
    time = (np.arange(FRAMES) + 0.5)[:, None] / FRAMES
    return start + LEG * (np.minimum(2 * time, 1) * first + np.maximum(2 * time - 1, 0) * second)


def coverage(shape: str, centres: np.ndarray, radius: float) -> np.ndarray:
    """How much of every pixel a shape covers, float [t, 64, 64] in 0..1."""
    grid = np.arange(SIDE) + 0.5
    x = grid[None, None, :] - centres[:, 0, None, None]
    y = grid[None, :, None] - centres[:, 1, None, None]
    distance = {
        "circle": lambda: np.hypot(x, y) - radius,
        "square": lambda: np.maximum(abs(x), abs(y)) - 0.85 * radius,
        # A side below, and two that lean by 30 degrees.
        "triangle": lambda: np.maximum(y, (3**0.5 * abs(x) - y) / 2) - 0.6 * radius,
    }[shape]()
    return np.clip(0.5 - distance, 0, 1)
