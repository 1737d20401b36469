"""LSMDC: clips of films with what is said of them for the blind (Rohrbach et al., IJCV 2017)."""

from tempme_jax.datasets.annotations import Annotated, Entry, read_lines
from tempme_jax.datasets.base import Video
from tempme_jax.datasets.builder import VideoText

FILES = {
    "train": "LSMDC16_annos_training.csv",
    "validation": "LSMDC16_annos_val.csv",
    "test": "LSMDC16_challenge_1000_publictect.csv",  # spelt so
}
FIELDS = ("clip_id", "start_aligned", "end_aligned", "start_extracted", "end_extracted", "sentence")


class Lsmdc(Annotated, VideoText):
    """One sentence is one pair. Names of persons are anonymised as SOMEONE.

    There are 101,079 sentences to train on, 7,408 to validate, 1,000 to test. Outside of the test
    a clip may have several, and the number of clips is not published.
    """

    EXPECTED = {("default", "test"): 1000}
    HOMEPAGE = "https://sites.google.com/site/describingmovies/download"

    def videos(self, split: str) -> list[Video]:
        """The videos of a split; see `VideoText.videos`."""
        captions, file = {}, self.annotation(FILES[split])
        for place, line in read_lines(file):
            # Not by the csv module: fields are parted by tabs, and quotes are text.
            values = line.strip().split("\t")
            entry = Entry(file, place, dict(zip(FIELDS, values, strict=False)))
            if len(values) != len(FIELDS):
                fields = ", ".join(FIELDS)
                raise entry.error(f"{len(values)} fields, expected 6 parted by tabs: {fields}")
            clip = entry.new("clip_id", captions if split == "test" else ())
            captions.setdefault(clip, []).append(entry.text("sentence"))
        return [self.video(clip, texts, clip) for clip, texts in captions.items()]
