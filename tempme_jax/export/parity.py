"""Compare the vectors of an exported file with those of its model, on drawn inputs."""

import statistics
import time

import numpy as np
from jaxtyping import Bool, Int, UInt8

from tempme_jax.export.about import Agreement
from tempme_jax.two_towers import TwoTowers

TEXTS, VIDEOS, COARSE, NOISE = 32, 8, 8, 32
PAIRS = 5


def measure_agreement(model: TwoTowers, exported: TwoTowers) -> dict[str, Agreement]:
    """Return how the vectors of each tower agree, on inputs that are drawn with one seed.

    Half of the videos lack frames, and the texts have all lengths.
    """
    frames, ids = draw_frames(model), draw_ids(model)
    few = frames[VIDEOS // 2 :, : max(1, model.num_frames // 2)]
    videos = [
        np.concatenate([one.embed_video(part) for part in (frames[: VIDEOS // 2], few)])
        for one in (model, exported)
    ]
    texts = [one.embed_tokens(*ids) for one in (model, exported)]
    return {"video": compare_vectors(*videos), "text": compare_vectors(*texts)}


def compare_vectors(expected: np.ndarray, found: np.ndarray) -> Agreement:
    """Return the largest difference and the smallest cosine of vectors, float32 [b, e].

    >>> compare_vectors(np.eye(2), np.eye(2))
    {'largest': 0.0, 'cosine': 1.0}
    """
    expected, found = (a.astype(np.float64) for a in (expected, found))
    lengths = np.linalg.norm(expected, axis=1) * np.linalg.norm(found, axis=1)
    cosine = (expected * found).sum(axis=1) / lengths
    # Of NaN, the file is wrong, whatever else agrees.
    worst = float(np.nan_to_num(cosine, nan=-1.0).min())
    return {"largest": float(np.abs(expected - found).max()), "cosine": min(worst, 1.0)}


def draw_frames(model: TwoTowers) -> UInt8[np.ndarray, "b f s s 3"]:
    """Draw videos of coloured areas that change from frame to frame, with some noise."""
    rng, size = np.random.default_rng(0), model.arch.image_size
    shape = (VIDEOS, model.num_frames, COARSE, COARSE, 3)
    places = np.arange(size) * COARSE // size
    frames = rng.integers(0, 256 - NOISE, shape)[:, :, places][:, :, :, places]
    return (frames + rng.integers(0, NOISE, frames.shape)).astype(np.uint8)


def draw_ids(model: TwoTowers) -> tuple[Int[np.ndarray, "b n"], Bool[np.ndarray, "b n"]]:
    """Draw texts of all lengths, whose last id is the largest one."""
    rng, size = np.random.default_rng(1), model.arch.vocab_size
    ids = rng.integers(1, size - 1, (TEXTS, model.max_words)).astype(np.int32)
    ends = 1 + np.arange(TEXTS) % (model.max_words - 1)
    ids[np.arange(TEXTS), ends] = size - 1
    mask = np.arange(model.max_words) <= ends[:, None]
    return np.where(mask, ids, 0).astype(np.int32), mask


def compare_speeds(first: TwoTowers, second: TwoTowers) -> float:
    """Return how many times as fast as the first model the second encodes a video."""
    frames, ratios = draw_frames(first)[:1], []
    for _ in range(1 + PAIRS):
        seconds = []
        for model in (first, second):
            started = time.perf_counter()
            model.embed_video(frames)
            seconds.append(time.perf_counter() - started)
        ratios.append(seconds[0] / seconds[1])
    return statistics.median(ratios[1:])  # the first pair opens the files
