"""LSMDC: scenes of films with audio descriptions for the blind (Rohrbach et al., IJCV 2017)."""

from tempme_jax.datasets.annotated import AnnotatedSet
from tempme_jax.datasets.annotations import Annotation
from tempme_jax.datasets.prepare import VideoText
from tempme_jax.datasets.readers import read_lines

FIELDS = ("clip_id", "start_aligned", "end_aligned", "start_extracted", "end_extracted", "sentence")


class Lsmdc(AnnotatedSet, VideoText):
    """LSMDC: each sentence is one pair. Names of persons are replaced by SOMEONE.

    There are 101,079 sentences for training, 7,408 for validation and 1,000 for the test. Outside
    the test, a video may have several sentences, and the number of videos is not published.
    """

    EXPECTED = {("default", "test"): 1000}
    OWN = {
        "train": "LSMDC16_annos_training.csv",
        "validation": "LSMDC16_annos_val.csv",
        "test": "LSMDC16_challenge_1000_publictect.csv",  # spelt so
    }
    LISTS = {
        "train": "lsmdc_ret_train.json",
        "validation": "lsmdc_ret_val.json",
        "test": "lsmdc_ret_test_1000.json",
    }
    HOMEPAGE = "https://sites.google.com/site/describingmovies/download"

    def read_captions(self, split: str) -> dict[str, list[str]]:
        """Read the captions of a split; see `AnnotatedSet.read_captions`."""
        captions, file = {}, self.find_annotations(self.OWN[split])
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
        return captions
