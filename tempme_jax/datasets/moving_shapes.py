"""The built-in set: short videos of shapes that move, made here, in which the order matters."""

import csv
import io
import itertools
import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import tqdm

from tempme_jax.datasets import shapes
from tempme_jax.datasets.base import Video
from tempme_jax.datasets.builder import VideoText
from tempme_jax.files import write_whole

# Videos of each of the 96 motions, by variant.
SIZES = {
    "default": {"train": 10, "validation": 1, "test": 1},
    "small": {"train": 1, "validation": 1, "test": 1},
}
# Beside the videos: which drawing they are of. Another one is made anew.
EDITION = "1"
FPS = 12


class MovingShapes(VideoText):
    """Coloured shapes that move one way, then another: "a red circle moves right then up".

    960 videos to train on, 96 for validation and 96 to test, each of the 96 captions once in
    either; 24 frames of 64 x 64 pixels as H.264 mp4 files, the same ones wherever they are made.
    Played backwards a video shows another of the captions, and there is a video of that caption
    with the same frames up to noise: its hard negative, of one group with it. So what does not see
    the order of frames cannot tell the two apart, and finds at best every second video. The
    variant "small" has 96 videos to train on.
    """

    VARIANTS = tuple(SIZES)
    EXPECTED = {
        (variant, split): takes * len(shapes.all_motions())
        for variant, splits in SIZES.items()
        for split, takes in splits.items()
    }

    def videos(self, split: str) -> list[Video]:
        """All videos of a split; the files that are not there yet are rendered first."""
        folder = self.root / "videos" / f"edition-{EDITION}" / split
        return render(folder, split, SIZES[self.builder_config.variant][split])


def render(folder: Path, split: str, takes: int) -> list[Video]:
    """Videos of a split in a folder, `takes` of each motion; those not there yet are made."""
    folder.mkdir(parents=True, exist_ok=True)
    motions = shapes.all_motions()
    all_takes = list(itertools.product(range(takes), enumerate(motions)))
    listed = []
    # A bar on a terminal only.
    for take, (number, motion) in tqdm.tqdm(all_takes, f"Rendering {split}", disable=None):
        pair = motions.index(min(motion, motion.reverse))
        file = folder / file_name(number, take)
        if not file.exists():
            seed = (MovingShapes.SPLITS.index(split), take)
            look = np.random.default_rng((*seed, pair))
            noise = np.random.default_rng((*seed, len(motions) + number))
            write_video(file, shapes.draw(motion, look, noise))
        name, group = f"{split}-{number:02}-{take:02}", f"{split}-{pair:02}-{take:02}"
        listed.append(Video(id=name, file=file, captions=(motion.caption,), group=group))
    return listed


def file_name(number: int, take: int) -> str:
    """The name of the file of a take of the motion of a number."""
    return f"{number:02}-{take:02}.mp4"


def write_samples(folder: str | os.PathLike[str]) -> list[Video]:
    """The 96 test videos as files of a folder, and beside them captions.csv (file, caption).

    Args:
        folder: made if it is not there. Files that are there are kept.

    Raises:
        ValueError: if the folder has a captions.csv that is of other videos.
    """
    folder = Path(folder)
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(("file", "caption"))
    for number, motion in enumerate(shapes.all_motions()):
        rows.writerow((file_name(number, 0), motion.caption))
    content = table.getvalue().encode()
    captions = folder / "captions.csv"
    if captions.exists() and captions.read_bytes() != content:
        raise ValueError(f"{captions} is of other videos; give the samples a folder of their own")
    videos = render(folder, "test", takes=1)
    if not captions.exists():
        captions.write_bytes(content)
    return videos


def write_video(file: Path, frames: np.ndarray) -> None:
    """Writes uint8 frames [t, h, w, 3] as an mp4 file, whole or not at all.

    Every frame is coded by itself, so that none carries traces of those before it.
    """
    with (
        write_whole(file) as unfinished,
        av.open(unfinished, "w", format="mp4") as container,
    ):
        settings = {"crf": "16", "g": "1", "preset": "veryfast", "threads": "1"}
        stream = container.add_stream("libx264", rate=Fraction(FPS), options=settings)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv444p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
