"""VATEX: 29,000 videos of ten seconds with ten English sentences each (Wang et al., ICCV 2019)."""

from tempme_jax.datasets.annotated import AnnotatedSet
from tempme_jax.datasets.annotations import Annotation, make_error
from tempme_jax.datasets.prepare import VideoText
from tempme_jax.datasets.readers import read_json


class Vatex(AnnotatedSet, VideoText):
    """VATEX: each English sentence is one pair, also in the test.

    The splits are those of HGR (Chen et al., CVPR 2020), who halve the published validation split,
    since the captions of the test are not public. The files are named as for DGL.
    """

    EXPECTED = {
        ("default", "train"): 25991,
        ("default", "validation"): 1500,
        ("default", "test"): 1500,
    }
    OWN = {"train": "train_list.txt", "validation": "val_list.txt", "test": "test_list.txt"}
    HOMEPAGE = "https://eric-xw.github.io/vatex-website"

    def read_captions(self, split: str) -> dict[str, list[str]]:
        """Read the captions of a split; see `AnnotatedSet.read_captions`."""
        file = self.find_annotations("ref_captions.json")
        captions = {}
        for key, value in read_json(file, dict).items():
            if not isinstance(value, list):
                raise make_error(file, f"must hold a list, not {value!r:.60}", repr(key))
            captions[key] = [
                Annotation(file, repr(key), {"a caption": one}).get_text("a caption")
                for one in value
            ]
        return self.select_listed(split, captions, file)
