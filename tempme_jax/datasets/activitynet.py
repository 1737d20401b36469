"""ActivityNet Captions: 20,000 long videos with paragraphs (Krishna et al., ICCV 2017)."""

import pathlib

from tempme_jax.datasets.annotated import AnnotatedSet
from tempme_jax.datasets.annotations import Annotation
from tempme_jax.datasets.prepare import VideoText
from tempme_jax.datasets.readers import make_annotation, read_json


class ActivityNet(AnnotatedSet, VideoText):
    """ActivityNet Captions: the one caption of a video is all its sentences, joined.

    The test split is the published set val_1. There is no validation split, so
    `AnnotatedSet.choose_held_out` takes 500 training videos. To train on all of them, train on
    "train+validation". The lists train_ids.json and val_ids.json, which also name a few videos
    without captions, are not read.
    """

    name = "activitynet"
    EXPECTED = {
        ("default", "train"): 9509,
        ("default", "validation"): 500,
        ("default", "test"): 4917,
    }
    HELD_OUT = 500
    OWN = {"train": "train.json", "test": "val_1.json"}
    LISTS = {"train": "anet_ret_train.json", "test": "anet_ret_val_1.json"}
    JOINED = True
    HOMEPAGE = "http://activity-net.org/download.html"

    def read_captions(self, split: str) -> dict[str, list[str]]:
        """Read the captions of a split; see `AnnotatedSet.read_captions`."""
        file = self.find_annotations(self.OWN[split])
        return {
            Annotation(file, repr(key), {"the id": key}).get_text("the id"): [
                join_sentences(file, key, value)
            ]
            for key, value in read_json(file, dict).items()
        }

    def list_other_names(self, name: str) -> list[str]:
        """Return the id alone: files are named v_<id>, like the keys, or <id>."""
        return [name.removeprefix("v_")]


def join_sentences(file: pathlib.Path, key: str, value: object) -> str:
    """Join the sentences that `file` holds for the video `key`."""
    entry = make_annotation(file, repr(key), value).require(["sentences"])
    sentences = entry.fields["sentences"]
    if not isinstance(sentences, list) or not all(isinstance(part, str) for part in sentences):
        raise entry.make_error("sentences must be a list of texts")
    joined = " ".join(part.strip() for part in sentences if part.strip())
    return Annotation(file, repr(key), {"the paragraph": joined}).get_text("the paragraph")
