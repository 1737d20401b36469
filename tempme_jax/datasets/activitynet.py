"""ActivityNet Captions: 20,000 long videos with paragraphs (Krishna et al., ICCV 2017)."""

import pathlib

from tempme_jax.datasets.annotations import AnnotatedSet, Annotation, make_annotation, read_json
from tempme_jax.datasets.base import Video
from tempme_jax.datasets.prepare import VideoText


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
    HOMEPAGE = "http://activity-net.org/download.html"

    def list_videos(self, split: str) -> list[Video]:
        """Return the videos of a split; see `VideoSet.list_videos`."""
        file = self.find_annotations("val_1.json" if split == "test" else "train.json")
        captions = {
            Annotation(file, repr(key), {"the id": key}).get_text("the id"): join_sentences(
                file, key, value
            )
            for key, value in read_json(file, dict).items()
        }
        held_out = set() if split == "test" else self.choose_held_out(captions, 500)
        return [
            # Files are named v_<id>, like the keys, or <id>.
            self.make_video(key, [caption], key, key.removeprefix("v_"))
            for key, caption in captions.items()
            if (key in held_out) == (split == "validation")
        ]


def join_sentences(file: pathlib.Path, key: str, value: object) -> str:
    """Join the sentences that `file` holds for the video `key`."""
    entry = make_annotation(file, repr(key), value).require(["sentences"])
    sentences = entry.fields["sentences"]
    if not isinstance(sentences, list) or not all(isinstance(part, str) for part in sentences):
        raise entry.make_error("sentences must be a list of texts")
    joined = " ".join(part.strip() for part in sentences if part.strip())
    return Annotation(file, repr(key), {"the paragraph": joined}).get_text("the paragraph")
