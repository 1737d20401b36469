"""The built-in data set: short rendered videos of moving shapes, in which frame order matters."""

import csv
import io
import itertools
import os
from pathlib import Path

import numpy as np

from tempme_jax import screen
from tempme_jax.datasets import shapes
from tempme_jax.datasets.base import Video
from tempme_jax.datasets.prepare import VideoText
from tempme_jax.files import write_text
from tempme_jax.video.writing import write_video

# Number of videos of each of the 96 motions, by variant and split.
SIZES = {
    "default": {"train": 10, "validation": 1, "test": 1},
    "small": {"train": 1, "validation": 1, "test": 1},
}
# Version of the drawings, in the path of the videos; increase it to have them rendered again.
EDITION = "1"
FPS = 12


class MovingShapes(VideoText):
    """Coloured shapes that move one way, then another: "a red circle moves right then up".

    There are 960 videos for training (96 in the variant "small"), 96 for validation and 96 for the
    test; validation and test have each of the 96 captions once. A video has 24 frames of 64 x 64
    pixels in an H.264 mp4 file, with the same content on every machine.

    Each video has a hard negative, in the same group: the same frames, up to noise, in reverse
    order, with another caption. A method that ignores frame order can only guess between the two:
    about 50 % R@1.
    """

    MAKES_ITSELF = True
    VARIANTS = tuple(SIZES)
    EXPECTED = {
        (variant, split): takes * len(shapes.list_motions())
        for variant, splits in SIZES.items()
        for split, takes in splits.items()
    }

    def list_videos(self, split: str) -> list[Video]:
        """Return the videos of a split; render the files that do not exist yet."""
        folder = self.root / "videos" / f"edition-{EDITION}" / split
        return render(folder, split, SIZES[self.storage.variant][split])


def render(folder: Path, split: str, takes: int) -> list[Video]:
    """Return `takes` videos of each motion; render the files that do not exist yet."""
    folder.mkdir(parents=True, exist_ok=True)
    motions = shapes.list_motions()
    all_takes = list(itertools.product(range(takes), enumerate(motions)))
    listed = []
    bar = screen.make_progress_bar(all_takes, f"Rendering {split}", unit="videos")
    for take, (number, motion) in bar:
        pair = motions.index(min(motion, motion.reverse))
        file = folder / make_file_name(number, take)
        if not file.exists():
            seed = (MovingShapes.SPLITS.index(split), take)
            look = np.random.default_rng((*seed, pair))
            noise = np.random.default_rng((*seed, len(motions) + number))
            save_frames(file, shapes.draw(motion, look, noise))
        name, group = (make_video_name(split, one, take) for one in (number, pair))
        listed.append(Video(id=name, file=file, captions=(motion.caption,), group=group))
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
    videos = render(folder, "test", takes=1)
    if not captions.exists():
        write_text(captions, content)
    return videos


def save_frames(file: Path, frames: np.ndarray) -> None:
    """Write uint8 frames [t, h, w, 3] as an mp4 file, the same bytes on every machine.

    Each frame is a keyframe, so none carries traces of the frames before it.
    """
    options = {"crf": "16", "g": "1", "preset": "veryfast", "threads": "1"}
    write_video(file, frames, fps=FPS, pixel_format="yuv444p", options=options)
