"""MSVD: 1,970 short web videos with about 40 sentences each (Chen and Dolan, ACL 2011)."""

from tempme_jax.datasets.annotated import AnnotatedSet
from tempme_jax.datasets.pickles import read_pickled_captions
from tempme_jax.datasets.prepare import VideoText

FILES = {"train": "train", "validation": "val", "test": "test"}


class Msvd(AnnotatedSet, VideoText):
    """MSVD: each sentence is one pair, also in the test, whose 670 videos have many each.

    The splits and captions are those of "Collaborative Experts" and CLIP4Clip. The captions are a
    Python pickle, of which nothing is run.
    """

    EXPECTED = {
        ("default", "train"): 1200,
        ("default", "validation"): 100,
        ("default", "test"): 670,
    }
    OWN = {split: f"{name}_list.txt" for split, name in FILES.items()}
    LISTS = {split: f"msvd_ret_{name}.json" for split, name in FILES.items()}
    HOMEPAGE = "https://github.com/ArrowLuo/CLIP4Clip"

    def read_captions(self, split: str) -> dict[str, list[str]]:
        """Read the captions of a split; see `AnnotatedSet.read_captions`."""
        file = self.find_annotations("raw-captions.pkl")
        return self.select_listed(split, read_pickled_captions(file), file)
