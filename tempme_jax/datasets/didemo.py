"""DiDeMo: 10,000 Flickr videos with paragraphs (Hendricks et al., ICCV 2017)."""

import collections

from tempme_jax.datasets.annotated import AnnotatedSet
from tempme_jax.datasets.prepare import VideoText
from tempme_jax.datasets.readers import read_json_list

FILES = {"train": "train", "validation": "val", "test": "test"}


class Didemo(AnnotatedSet, VideoText):
    """DiDeMo: the one caption of a video is all its descriptions, joined.

    Only the first 31 seconds of a video are read. The splits are the file lists of "Collaborative
    Experts" (Liu et al., BMVC 2019); some of the names end in a dot, without a suffix.
    """

    EXPECTED = {
        ("default", "train"): 8392,
        ("default", "validation"): 1065,
        ("default", "test"): 1004,
    }
    OWN = {split: f"{name}_list.txt" for split, name in FILES.items()}
    LISTS = {split: f"didemo_ret_{name}.json" for split, name in FILES.items()}
    JOINED = True
    SECONDS = 31.0  # the annotators saw the first 30
    HOMEPAGE = "https://github.com/LisaAnne/LocalizingMoments"

    def read_captions(self, split: str) -> dict[str, list[str]]:
        """Read the captions of a split; see `AnnotatedSet.read_captions`."""
        file = self.find_annotations(f"{FILES[split]}_data.json")
        descriptions = collections.defaultdict(list)
        for entry in read_json_list(file, ["video", "description"]):
            descriptions[entry.get_text("video")].append(entry.get_text("description"))
        return self.select_listed(split, descriptions, file)
