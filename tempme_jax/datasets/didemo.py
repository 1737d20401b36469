"""DiDeMo: 10,000 Flickr videos told in paragraphs (Hendricks et al., ICCV 2017)."""

import collections

from tempme_jax.datasets.annotations import Annotated, Entry, read_json_list, read_lines
from tempme_jax.datasets.base import Video
from tempme_jax.datasets.builder import VideoText

FILES = {"train": "train", "validation": "val", "test": "test"}
# What the annotators saw was cut at 30 seconds.
SECONDS = 31.0


class Didemo(Annotated, VideoText):
    """All descriptions of a video, joined, are its one caption; read are its first 31 seconds.

    The splits are the lists of "Collaborative Experts", names of files with their suffixes. Some
    end in a bare dot.
    """

    EXPECTED = {
        ("default", "train"): 8392,
        ("default", "validation"): 1065,
        ("default", "test"): 1004,
    }
    HOMEPAGE = "https://github.com/LisaAnne/LocalizingMoments"

    def videos(self, split: str) -> list[Video]:
        """The videos of a split; see `VideoText.videos`."""
        file, said = self.annotation(f"{FILES[split]}_data.json"), collections.defaultdict(list)
        for entry in read_json_list(file, ["video", "description"]):
            said[entry.text("video")].append(entry.text("description"))
        listed, videos = self.annotation(f"{FILES[split]}_list.txt"), {}
        for place, line in read_lines(listed):
            entry = Entry(listed, place, {"the name": line})
            name = entry.new("the name", videos)
            if name not in said:
                raise entry.error(f"{name!r} has no description in {file.name}")
            videos[name] = self.video(name, [" ".join(said[name])], end=SECONDS)
        return list(videos.values())
