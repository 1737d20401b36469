"""Measure how well a search finds what is to be seen for two seconds of a minute, and when.

    python benchmarks/needles.py

A library holds eight videos of 60 seconds. In each one of four objects is to be seen, and for two
seconds, instead of it, one of eight others; each is asked for by its name ("a red circle"). Windows
are cut, embedded and rounded to bytes as `tempme index --per-frame` does it. The table says for the
mean of a window's frames, for late interaction at several temperatures (tau), and for what a search
does by default:

    found    percent of the queries whose best window is in the right video (R@1)
    second   percent whose second is within 1.0 s of the middle of the event, in the right video;
             that of the mean is the middle of its best window
    motion   R@1 of the 96 videos of `moving_shapes`, whose captions tell what moves where

With `--split choose` others are drawn than for the table in docs/guides/late_interaction.md: on
those the default was chosen. `--tokens all` compares with all tokens that merging left, each
projected as a class token is, by their sizes, in place of the frames: an experiment, which has no
seconds. It takes two minutes on two CPU cores.
"""

import argparse
import itertools
from fractions import Fraction
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tempme_jax.datasets import shapes
from tempme_jax.inputs import normalize_frames
from tempme_jax.loading import load
from tempme_jax.search.query.late import Temper, choose_temper
from tempme_jax.search.store.frame_codes import FrameScores, compare_frames, encode_window
from tempme_jax.video.windows import Sampling, Window, cut_into_windows

MODELS = ("tiny-clip", "tiny-tempme")
TAUS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0)
# First seed of the libraries, and the split of `moving_shapes`, by what they are for.
SPLITS = {"choose": (1000, 1), "report": (2000, 2)}
LIBRARIES, VIDEOS = 12, 8
SECONDS, EVENT, WITHIN = 60, 2.0, 1.0
OBJECTS = tuple(itertools.product(shapes.COLOURS, shapes.SHAPES))


class Needle(NamedTuple):
    """A video: what is to be seen all the time, and what from `start` on for `EVENT` seconds."""

    usual: tuple[str, str]
    rare: tuple[str, str]
    start: float
    seed: int

    @property
    def query(self) -> str:
        """Caption of a single frame."""
        return f"a {' '.join(self.rare)}"

    def is_rare_at(self, second: float) -> bool:
        """Return whether the rare object is to be seen at a second."""
        return self.start <= second < self.start + EVENT

    def draw(self, windows: list[Window]) -> np.ndarray:
        """Draw the frames of windows, uint8 [w, f, 64, 64, 3]; places are drawn."""
        rng = np.random.default_rng(self.seed)
        background, radius = rng.uniform(20, 90), rng.uniform(*shapes.RADIUS)
        seconds = sorted({float(second) for window in windows for second in window.moments})
        drawn = {}
        for second in seconds:
            colour, shape = self.rare if self.is_rare_at(second) else self.usual
            centre = rng.uniform(shapes.SIDE / 4, 3 * shapes.SIDE / 4, (1, 2))
            inside = shapes.compute_coverage(shape, centre, radius)[0, ..., None]
            clean = background + (np.array(shapes.COLOURS[colour]) - background) * inside
            noisy = clean + rng.normal(0, shapes.NOISE, clean.shape)
            drawn[second] = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
        return np.stack([[drawn[float(second)] for second in one.moments] for one in windows])


class Compared(NamedTuple):
    """Similarities of q queries and the parts of n windows, [q, n, f], with weights [n, f]."""

    means: np.ndarray
    scores: np.ndarray
    weights: np.ndarray

    def pool(self, temper: Temper | None) -> np.ndarray:
        """Return the scores of windows, float32 [q, n]; None for their means."""
        if temper is None:
            return self.means
        weights = np.broadcast_to(self.weights, self.scores.shape)
        late = Temper(temper.tau).pool(FrameScores(self.scores, weights))
        return temper.share * late + (1 - temper.share) * self.means


def draw_library(seed: int) -> list[Needle]:
    """Draw a library: what is rare in one video is to be seen in no other."""
    rng = np.random.default_rng(seed)
    objects = [OBJECTS[i] for i in rng.permutation(len(OBJECTS))]
    rare, usual = objects[:VIDEOS], objects[VIDEOS:]
    starts = rng.uniform(1, SECONDS - EVENT - 1, VIDEOS)
    return [
        Needle(usual[number % len(usual)], one, float(start), seed * VIDEOS + number)
        for number, (one, start) in enumerate(zip(rare, starts, strict=True))
    ]


def compare(model: Any, texts: list[str], videos: np.ndarray, *, every: bool) -> Compared:
    """Compare texts with videos, uint8 [n, f, 64, 64, 3], as an index with vectors of frames."""
    queries = model.embed_text(texts)
    if every:
        return compare_tokens(model, queries, videos)
    found = model.embed_frames(videos)
    frames = found.weights.shape[1]
    rows = [encode_window("", *each) for each in zip(found.frames, found.weights, strict=True)]
    table = np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), -1)
    scores = [compare_frames(query, table, frames).scores for query in queries]
    return Compared(queries @ found.vectors.T, np.stack(scores), found.weights)


def compare_tokens(model: Any, queries: np.ndarray, videos: np.ndarray) -> Compared:
    """Compare queries with every token that merging left, of unit length, by their sizes."""
    network, params = model.folded

    @jax.jit
    def read(frames: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        pixels = normalize_frames(frames, network.arch.mean, network.arch.std)
        vectors, tokens = network.apply(params, pixels, None, method="encode_video")
        tower = params["params"]["video"]
        x = tokens.x.reshape(len(frames), -1, network.arch.width)
        x = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5)
        x = x * tower["ln_post"]["scale"] + tower["ln_post"]["bias"]
        x = x @ tower["projection"]
        return vectors, x / jnp.linalg.norm(x, axis=-1, keepdims=True), tokens.size

    parts = [read(videos[start : start + 16]) for start in range(0, len(videos), 16)]
    vectors, x, sizes = (
        np.concatenate(list(map(np.asarray, each))) for each in zip(*parts, strict=True)
    )
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = np.einsum("qe,nfe->qnf", queries, x)
    return Compared(queries @ vectors.T, scores, sizes.reshape(len(videos), -1))


def measure_libraries(
    model: Any, first: int, ways: dict[str, Temper | None], *, every: bool
) -> dict[str, list[float]]:
    """Return for each way the percent of queries that are found, and of seconds."""
    hits = {name: ([], []) for name in ways}
    windows = cut_into_windows(Fraction(SECONDS), Sampling(frames=model.num_frames))
    for seed in range(first, first + LIBRARIES):
        library = draw_library(seed)
        frames = np.concatenate([video.draw(windows) for video in library])
        compared = compare(model, [video.query for video in library], frames, every=every)
        for name, (found, seconds) in hits.items():
            scores = compared.pool(ways[name]).reshape(VIDEOS, VIDEOS, len(windows))
            found += (scores.max(axis=2).argmax(axis=1) == np.arange(VIDEOS)).tolist()
            for number, video in enumerate(library):
                best = int(scores[number, number].argmax())
                row = compared.scores[number, number * len(windows) + best]
                second = find_second(windows[best], row, by_frame=ways[name] is not None)
                seconds.append(abs(second - video.start - EVENT / 2) <= WITHIN)
    return {name: [100 * float(np.mean(one)) for one in each] for name, each in hits.items()}


def find_second(window: Window, scores: np.ndarray, *, by_frame: bool) -> float:
    """Return the second that a window is found for: that of its best frame, or its middle."""
    if by_frame and len(scores) == len(window.moments):
        return float(window.moments[int(scores.argmax())])
    return float(window.start + window.end) / 2


def measure_motion(
    model: Any, split: int, ways: dict[str, Temper | None], *, every: bool
) -> dict[str, float]:
    """Return for each way R@1 of a split of `moving_shapes`, in percent."""
    motions = shapes.list_motions()
    numbers = {one: number for number, one in enumerate(motions)}
    videos = []
    for number, motion in enumerate(motions):
        look = np.random.default_rng((split, 0, numbers[motion.leader]))
        noise = np.random.default_rng((split, 0, len(motions) + number))
        step = shapes.FRAMES // model.num_frames
        videos.append(motion.draw(look, noise)[step // 2 :: step])
    captions = [motion.caption for motion in motions]
    compared = compare(model, captions, np.stack(videos), every=every)
    ranks = {name: compared.pool(temper).argmax(axis=1) for name, temper in ways.items()}
    return {
        name: 100 * float(np.mean(best == np.arange(len(motions)))) for name, best in ranks.items()
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--split", choices=list(SPLITS), default="report")
    parser.add_argument("--tokens", choices=["class", "all"], default="class")
    parser.add_argument("--model", action="append", help="default: tiny-clip and tiny-tempme")
    given = parser.parse_args()
    seed, split = SPLITS[given.split]
    for name in given.model or MODELS:
        model = load(name)
        every = given.tokens == "all"
        usual = choose_temper(model.tau, float(model.network.compute_scale(model.params)))
        ways = {"mean": None, "default": usual} | {f"tau {tau:g}": Temper(tau) for tau in TAUS}
        needles = measure_libraries(model, seed, ways, every=every)
        motion = measure_motion(model, split, ways, every=every)
        print(f"{name:<14} {'found':>7} {'second':>7} {'motion':>7}")
        for way, (found, second) in needles.items():
            print(f"  {way:<12} {found:7.1f} {second:7.1f} {motion[way]:7.1f}", flush=True)


if __name__ == "__main__":
    main()
