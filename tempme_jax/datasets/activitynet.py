"""ActivityNet Captions: 20,000 long videos told in paragraphs (Krishna et al., ICCV 2017)."""

import pathlib

from tempme_jax.datasets.annotations import Annotated, Entry, as_entry, read_json
from tempme_jax.datasets.base import Video
from tempme_jax.datasets.builder import VideoText


class ActivityNet(Annotated, VideoText):
    """All sentences of a video, joined, are its one caption; the test is the set val_1.

    There is no validation split beside it: `Annotated.held_out` takes 500 of the videos to train
    on. To train on all, train on "train+validation". The lists train_ids.json and val_ids.json
    name the same videos and a few without captions, and are not needed.
    """

    name = "activitynet"
    EXPECTED = {
        ("default", "train"): 9509,
        ("default", "validation"): 500,
        ("default", "test"): 4917,
    }
    HOMEPAGE = "http://activity-net.org/download.html"

    def videos(self, split: str) -> list[Video]:
        """The videos of a split; see `VideoText.videos`."""
        file = self.annotation("val_1.json" if split == "test" else "train.json")
        captions = {
            Entry(file, repr(key), {"the id": key}).text("the id"): paragraph(file, key, value)
            for key, value in read_json(file, dict).items()
        }
        held_out = set() if split == "test" else self.held_out(captions, 500)
        return [
            # The files are named v_<id>, as the keys, or just <id>.
            self.video(key, [caption], key, key.removeprefix("v_"))
            for key, caption in captions.items()
            if (key in held_out) == (split == "validation")
        ]


def paragraph(file: pathlib.Path, key: str, value: object) -> str:
    """The sentences that `file` has for the video `key`, joined."""
    entry = as_entry(file, repr(key), value).require(["sentences"])
    sentences = entry.fields["sentences"]
    if not isinstance(sentences, list) or not all(isinstance(part, str) for part in sentences):
        raise entry.error("sentences must be a list of texts")
    joined = " ".join(part.strip() for part in sentences if part.strip())
    return Entry(file, repr(key), {"the paragraph": joined}).text("the paragraph")
