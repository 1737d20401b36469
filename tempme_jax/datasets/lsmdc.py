"""LSMDC: scenes of films with audio descriptions for the blind (Rohrbach et al., IJCV 2017)."""

from tempme_jax.datasets.annotations import AnnotatedSet, Annotation, read_lines
from tempme_jax.datasets.base import Video
from tempme_jax.datasets.prepare import VideoText

FILES = {
    "train": "LSMDC16_annos_training.csv",
    "validation": "LSMDC16_annos_val.csv",
    "test": "LSMDC16_challenge_1000_publictect.csv",  # spelt so
}
FIELDS = ("clip_id", "start_aligned", "end_aligned", "start_extracted", "end_extracted", "sentence")


class Lsmdc(AnnotatedSet, VideoText):
    """LSMDC: each sentence is one pair. Names of persons are replaced by SOMEONE.

    There are 101,079 sentences for training, 7,408 for validation and 1,000 for the test. Outside
    the test, a video may have several sentences, and the number of videos is not published.
    """

    EXPECTED = {("default", "test"): 1000}
    HOMEPAGE = "https://sites.google.com/site/describingmovies/download"

    def list_videos(self, split: str) -> list[Video]:
        """Return the videos of a split; see `VideoSet.list_videos`."""
        captions, file = {}, self.find_annotations(FILES[split])
        for place, line in read_lines(file):
            # Not read by the csv module, since quotes are text here.
            values = line.strip().split("\t")
            entry = Annotation(file, place, dict(zip(FIELDS, values, strict=False)))
            if len(values) != len(FIELDS):
                fields = ", ".join(FIELDS)
                raise entry.make_error(
                    f"{len(values)} fields, expected 6 separated by tabs: {fields}"
                )
            name = entry.get_unique("clip_id", captions if split == "test" else ())
            captions.setdefault(name, []).append(entry.get_text("sentence"))
        return [self.make_video(name, texts, name) for name, texts in captions.items()]
