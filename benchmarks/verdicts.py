"""Measure how often a search calls a match strong, possible or weak, and how often it is right.

    python benchmarks/verdicts.py

First with the samples and the tiny model that come with the package: each sample is searched by its
own caption, and 256 sentences about other things (unrelated_held_out.txt), which are not those that
scores are compared with, are searched too. Then in simulated libraries of vectors with 512 numbers,
where it is known what describes what. "Before" is the rule of earlier versions: strong from 95 on,
where the upper half of the unrelated scores was the mirror image of the lower half.

It takes two minutes on two CPU cores.
"""

import argparse
import csv
import json
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from tempme_jax.search.query.scoring import UnrelatedScores
from tempme_jax.search.query.verdicts import choose_verdict

HELD_OUT = Path(__file__).with_name("unrelated_held_out.txt")
WIDTH, SENTENCES, TRUE = 512, 256, 200
# Topics of the videos, and as many others of sentences that describe none of them.
TOPICS = 60
# Each library has its own settings, of `Library` and of `simulate`.
LIBRARIES: dict[str, dict[str, Any]] = {
    "many topics": {},
    "50 windows": {"windows": 50, "scene": 5},
    "three topics": {"topics": 3},
    "one fixed camera": {"topics": 1, "within": 0.15, "windows": 5000},
    "few dimensions": {"latent": 16, "decay": 0.0},
    "many dimensions": {"latent": 256, "decay": 0.0, "noise": 0.8},
    "a poor model": {"noise": 1.5},
    "10 % of the sentences describe something": {"described": 0.1},
    "30 % of the sentences describe something": {"described": 0.3},
}


class Library:
    """Texts and windows that stand for meanings, in two cones as those of CLIP.

    A meaning lies near the centre of its topic, as far as `within` says, and has `latent`
    dimensions, of which the later ones count less, as `decay` says.
    """

    def __init__(
        self, seed: int, *, latent: int = 64, decay: float = 0.5, noise: float = 0.5,
        within: float = 0.6,
    ):  # fmt: skip
        """Draw the topics and the two cones."""
        self.rng = np.random.default_rng(seed)
        shares = np.arange(1, latent + 1) ** -decay
        axes = self.rng.normal(size=(latent, WIDTH)) * shares[:, None]
        self.axes = axes / np.sqrt((axes**2).sum())
        self.cones = {kind: normalize(self.rng.normal(size=WIDTH)) for kind in ("text", "window")}
        self.centres = self.rng.normal(size=(2 * TOPICS, latent))
        self.noise, self.within = noise, within

    def draw_meanings(self, count: int, topics: range) -> np.ndarray:
        """Draw meanings near the centres of some topics."""
        centres = self.centres[self.rng.choice(topics, count)]
        spread = self.rng.normal(size=centres.shape)
        return np.sqrt(1 - self.within**2) * centres + self.within * spread

    def embed(self, kind: str, meanings: np.ndarray) -> np.ndarray:
        """Return unit vectors that stand for meanings, float32."""
        noise = self.rng.normal(size=(len(meanings), WIDTH)) / np.sqrt(WIDTH)
        vectors = meanings @ self.axes + self.noise * noise + 0.6 * self.cones[kind]
        return normalize(vectors).astype(np.float32)


def normalize(vectors: np.ndarray) -> np.ndarray:
    """Return vectors of length 1."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def simulate(
    seed: int, *, windows: int = 8000, scene: int = 40, topics: int = TOPICS,
    described: float = 0.0, **settings: Any,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Return the best scores in a library, of sentences of each kind.

    Args:
        seed: each seed draws another library.
        windows: number of windows.
        scene: number of windows that show about the same.
        topics: number of topics of the videos.
        described: share of the sentences that scores are compared with that describe a window.
        **settings: those of `Library`.
    """
    library = Library(seed, **settings)
    scenes = library.draw_meanings(max(1, windows // scene), range(topics))
    shown = np.repeat(scenes, scene, axis=0)
    shown = np.sqrt(0.97) * shown + np.sqrt(0.03) * library.rng.normal(size=shown.shape)
    vectors = library.embed("window", shown)
    others = [library.draw_meanings(SENTENCES, range(TOPICS, 2 * TOPICS)) for _ in range(2)]
    count = int(described * SENTENCES)
    others[0][:count] = library.rng.choice(scenes, count)
    meanings = {
        "true": library.rng.choice(scenes, TRUE), "compared": others[0], "held out": others[1]
    }  # fmt: skip
    return {
        kind: (library.embed("text", some) @ vectors.T).max(axis=1)
        for kind, some in meanings.items()
    }


def measure_samples() -> dict[str, np.ndarray]:
    """Return the best scores in an index of the samples, of sentences of each kind."""
    from tempme_jax.datasets import moving_shapes
    from tempme_jax.search.index import VideoIndex
    from tempme_jax.search.query.unrelated import read_texts

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tiny model cuts long sentences
        moving_shapes.write_samples(Path(folder))
        rows = list(csv.DictReader((Path(folder) / "captions.csv").open(encoding="utf-8")))
        index = VideoIndex(folder, model="tiny-tempme")
        index.add(folder, quiet=True)
        right = []
        for row in rows:
            best = index.search(row["caption"], 1).moments[0]
            if best.file.name == row["file"]:
                right.append(best.score)
        others = {"compared": read_texts(), "held out": read_texts_of(HELD_OUT)}
        scores = {
            kind: [index.search(text, 1).moments[0].score for text in texts]
            for kind, texts in others.items()
        }
    return {"true": np.array(right), **{kind: np.array(some) for kind, some in scores.items()}}


def read_texts_of(path: Path) -> list[str]:
    """Read the lines of a file."""
    return path.read_text(encoding="utf-8").splitlines()


def judge(scores: dict[str, np.ndarray]) -> dict[str, float]:
    """Return in percent how often sentences get each verdict, now and by the rule from before."""
    unrelated = UnrelatedScores(scores["compared"])
    shares: dict[str, float] = {}
    for kind in ("true", "held out"):
        percentiles = map(unrelated.compute_percentile, scores[kind])
        verdicts = [choose_verdict(0.0, one) for one in percentiles]
        for verdict in ("strong", "possible", "weak"):
            shares[f"{kind} {verdict}"] = 100 * verdicts.count(verdict) / len(verdicts)
        strong = scores[kind] >= find_limit_before(scores["compared"])
        shares[f"{kind} strong before"] = 100 * float(np.mean(strong))
    return shares


def find_limit_before(scores: np.ndarray) -> float:
    """Return the score from which on earlier versions called a match confident."""
    scores = np.sort(scores)
    middle, lower = np.median(scores), scores[: len(scores) // 2]
    return float(np.percentile(np.concatenate([lower, 2 * middle - lower]), 95))


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--libraries", type=int, default=10, help="simulated, of each kind")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    results = {"the samples": [judge(measure_samples())]}
    for name, settings in LIBRARIES.items():
        seeds = range(100, 100 + given.libraries)  # the limits were chosen with other seeds
        results[name] = [judge(simulate(seed, **settings)) for seed in seeds]
    if given.json:
        print(json.dumps(results, indent=1))
        return
    print("Percent of sentences, the mean over libraries (the largest in brackets)")
    form = "{:42} {:>12} {:>9} {:>6}   {:>12} {:>12} {:>9} {:>6}"
    print(form.format("", "true: strong", "(before)", "weak", "unrelated:", "strong", "(before)",
                      "weak"))  # fmt: skip
    for name, shares in results.items():
        mean = {key: float(np.mean([one[key] for one in shares])) for key in shares[0]}
        most = max(one["held out strong"] for one in shares)
        print(form.format(
            name, f"{mean['true strong']:.0f}", f"{mean['true strong before']:.0f}",
            f"{mean['true weak']:.0f}", "", f"{mean['held out strong']:.1f} ({most:.1f})",
            f"{mean['held out strong before']:.1f}", f"{mean['held out weak']:.0f}",
        ))  # fmt: skip


if __name__ == "__main__":
    main()
