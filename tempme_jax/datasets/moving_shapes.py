"""The built-in data set: short rendered videos of moving shapes, in which frame order matters."""

import csv
import io
import itertools
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tempme_jax import screen
from tempme_jax.datasets import hard_shapes, shapes
from tempme_jax.datasets.base import Video
from tempme_jax.datasets.prepare import VideoText
from tempme_jax.files import write_text
from tempme_jax.video.writing import write_video

# Number of videos of each caption, by variant and split.
SIZES = {
    "default": {"train": 10, "validation": 1, "test": 1},
    "small": {"train": 1, "validation": 1, "test": 1},
    "hard": {"train": 5, "validation": 1, "test": 1},
}
# What the videos of a variant show, one for each caption.
DRAWN: dict[str, list[shapes.Motion] | list[hard_shapes.Scene]] = {
    "default": shapes.list_motions(),
    "small": shapes.list_motions(),
    "hard": hard_shapes.list_scenes(),
}
# Versions of the drawings, in the path of the videos; increase one to have its videos rendered
# again.
EDITION = "1"
HARD_EDITION = "1"
FPS = 12


class MovingShapes(VideoText):
    """Coloured shapes that move one way, then another: "a red circle moves right then up".

    There are 960 videos for training (96 in the variant "small"), 96 for validation and 96 for the
    test; validation and test have each of the 96 captions once. A video has 24 frames of 64 x 64
    pixels in an H.264 mp4 file, with the same content on every machine.

    Each video has a hard negative, in the same group: the same frames, up to noise, in reverse
    order, with another caption. A method that ignores frame order can only guess between the two:
    about 50 % R@1.

    The variant "hard" has 384 captions with three moves of two shapes: "a red circle moves left
    then up then a green square right". There are 1,920 videos for training, 384 for validation and
    384 for the test, of 48 frames. Each has four hard negatives, which differ in one thing:
    "order", the other shape moves first; "object", the shapes change places; "colour", their
    colours do; "direction", the shape that moves once goes the other way. Videos that differ only
    in the first or the last have the same frames in another order, and are a group: at most about
    25 % R@1 for a method that ignores it.
    """

    MAKES_ITSELF = True
    VARIANTS = tuple(SIZES)
    EXPECTED = {
        (variant, split): takes * len(DRAWN[variant])
        for variant, splits in SIZES.items()
        for split, takes in splits.items()
    }

    def list_videos(self, split: str) -> list[Video]:
        """Return the videos of a split; render the files that do not exist yet."""
        variant = self.storage.variant
        edition = f"hard-edition-{HARD_EDITION}" if variant == "hard" else f"edition-{EDITION}"
        folder = self.root / "videos" / edition / split
        return render(folder, split, SIZES[variant][split], DRAWN[variant])

    @classmethod
    def list_negatives(cls, variant: str, split: str) -> dict[str, dict[str, str]]:
        """Return the hard negatives of the videos of a split; see `VideoSet.list_negatives`."""
        if variant != "hard":
            return {}
        numbers = {scene: number for number, scene in enumerate(hard_shapes.list_scenes())}
        return {
            kind: {
                make_video_name(split, number, take): make_video_name(split, other, take)
                for take in range(SIZES[variant][split])
                for scene, number in numbers.items()
                for other in [numbers[scene.negate(kind)]]
            }
            for kind in hard_shapes.KINDS
        }


def render(
    folder: Path,
    split: str,
    takes: int,
    drawn: Sequence[shapes.Motion] | Sequence[hard_shapes.Scene],
) -> list[Video]:
    """Return `takes` videos of each motion or scene; render the files that do not exist yet."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = {one: number for number, one in enumerate(drawn)}
    all_takes = list(itertools.product(range(takes), drawn))
    listed = []
    bar = screen.make_progress_bar(all_takes, f"Rendering {split}", unit="videos")
    for take, one in bar:
        number, group = numbers[one], numbers[one.leader]
        file = folder / make_file_name(number, take)
        if not file.exists():
            seed = (MovingShapes.SPLITS.index(split), take)
            # Training sees more looks; a test compares videos that look alike.
            look = np.random.default_rng((*seed, group if split == "train" else numbers[one.look]))
            noise = np.random.default_rng((*seed, len(drawn) + number))
            save_frames(file, one.draw(look, noise))
        name, group = (make_video_name(split, number, take) for number in (number, group))
        listed.append(Video(id=name, file=file, captions=(one.caption,), group=group))
    return listed


def make_video_name(split: str, number: int, take: int) -> str:
    """Return the id of a take of a motion, both given by number."""
    return f"{split}-{number:02}-{take:02}"


def make_file_name(number: int, take: int) -> str:
    """Return the file name of a take of a motion, both given by number."""
    return f"{number:02}-{take:02}.mp4"


def write_samples(folder: str | os.PathLike[str]) -> list[Video]:
    """Write the 96 test videos to a folder, and a captions.csv with the columns file and caption.

    Args:
        folder: path of the folder, which is created if needed. Existing files are kept.

    Raises:
        ValueError: the folder has a captions.csv of other videos.
    """
    folder = Path(folder)
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(("file", "caption"))
    for number, motion in enumerate(shapes.list_motions()):
        rows.writerow((make_file_name(number, 0), motion.caption))
    content = table.getvalue()
    captions = folder / "captions.csv"
    if captions.exists() and captions.read_bytes() != content.encode():
        raise ValueError(f"{captions} is of other videos; give the samples a folder of their own")
    videos = render(folder, "test", takes=1, drawn=shapes.list_motions())
    if not captions.exists():
        write_text(captions, content)
    return videos


def save_frames(file: Path, frames: np.ndarray) -> None:
    """Write uint8 frames [t, h, w, 3] as an mp4 file, the same bytes on every machine.

    Each frame is a keyframe, so none carries traces of the frames before it.
    """
    options = {"crf": "16", "g": "1", "preset": "veryfast", "threads": "1"}
    write_video(file, frames, fps=FPS, pixel_format="yuv444p", options=options)
