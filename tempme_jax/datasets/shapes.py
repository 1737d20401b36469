"""Draw the frames of `moving_shapes`: coloured shapes that move along two legs.

A motion and its reverse have the same frames, up to noise, in opposite order. A single frame shows
the shape, its colour and the corner of its path; only the order of frames shows which leg came
first.
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

# In pixels: side of a frame, length of a leg, and range of the radius of a shape.
SIDE = 64
LEG = 28
RADIUS = (8.0, 11.0)
# Largest distance of the path from the centre of the frame, in pixels, along each axis.
SHIFT = 3.0
# Three for each of the 8 frames that are sampled from the middles of equal spans. The middle one of
# three is the same frame in a reversed video, so no sampled frame shows the direction.
FRAMES = 24
NOISE = 5.0


@dataclasses.dataclass(frozen=True, order=True)
class Motion:
    """A shape that moves one way, then another at a right angle to the first."""

    colour: str
    shape: str
    first: str
    second: str

    @property
    def caption(self) -> str:
        """Caption of the video."""
        return f"a {self.colour} {self.shape} moves {self.path}"

    @property
    def path(self) -> str:
        """Both moves, such as "right then up"."""
        return f"{self.first} then {self.second}"

    @property
    def reverse(self) -> "Motion":
        """The motion with the same frames in reverse order."""
        return dataclasses.replace(self, first=OPPOSITE[self.second], second=OPPOSITE[self.first])

    @property
    def leader(self) -> "Motion":
        """The first, in order, of the motions with the same frames: itself and its reverse."""
        return min(self, self.reverse)

    @property
    def look(self) -> "Motion":
        """The same: these two also share place, size and shade."""
        return self.leader

    def draw(self, look: np.random.Generator, noise: np.random.Generator) -> np.ndarray:
        """Draw the frames; see the function `draw`."""
        return draw(self, look, noise)


def list_motions() -> list[Motion]:
    """Return the 96 motions: 4 colours, 3 shapes, 8 paths."""
    legs = itertools.product(DIRECTIONS, DIRECTIONS)
    paths = [(a, b) for a, b in legs if b not in (a, OPPOSITE[a])]
    return [Motion(*kind, *path) for kind in itertools.product(COLOURS, SHAPES) for path in paths]


def draw(motion: Motion, look: np.random.Generator, noise: np.random.Generator) -> np.ndarray:
    """Draw the frames of a motion, uint8 [24, 64, 64, 3].

    Args:
        motion: the motion.
        look: generator of place, size and shade, which a motion and its reverse share.
        noise: generator of the noise of every pixel.
    """
    radius = look.uniform(*RADIUS)
    corner = (SIDE - LEG) / 2 + look.uniform(-SHIFT, SHIFT, 2)  # of the square around the path
    background = look.uniform(20, 90)
    paint = np.array(COLOURS[motion.colour]) * look.uniform(0.8, 1.1)
    inside = compute_coverage(motion.shape, compute_centres(motion, corner), radius)[..., None]
    clean = background + (paint - background) * inside
    noisy = clean + noise.normal(0, NOISE, clean.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def compute_centres(motion: Motion, corner: np.ndarray) -> np.ndarray:
    """Return the centre (x, y) of the shape in each frame, float [24, 2], at constant speed."""
    first, second = np.array(DIRECTIONS[motion.first]), np.array(DIRECTIONS[motion.second])
    start = corner + LEG * ((first < 0) | (second < 0))
    time = (np.arange(FRAMES) + 0.5)[:, None] / FRAMES
    return start + LEG * (np.minimum(2 * time, 1) * first + np.maximum(2 * time - 1, 0) * second)


def compute_coverage(shape: str, centres: np.ndarray, radius: float) -> np.ndarray:
    """Return the share of each pixel that a shape covers, float [t, 64, 64] from 0 to 1."""
    grid = np.arange(SIDE) + 0.5
    x = grid[None, None, :] - centres[:, 0, None, None]
    y = grid[None, :, None] - centres[:, 1, None, None]
    distance = {
        "circle": lambda: np.hypot(x, y) - radius,
        "square": lambda: np.maximum(abs(x), abs(y)) - 0.85 * radius,
        # A side at the bottom, and two sides 30 degrees off the vertical.
        "triangle": lambda: np.maximum(y, (3**0.5 * abs(x) - y) / 2) - 0.6 * radius,
    }[shape]()
    return np.clip(0.5 - distance, 0, 1)
