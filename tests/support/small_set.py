"""A small prepared data set: a few files of grey frames, each as bright as its index says."""

import pytest
from video_files import make_listed_set, make_video_entry, write_grey_video

from tempme_jax.datasets import prepare
from tempme_jax.datasets.prepared import Prepared
from tempme_jax.video import workers

# Frames of each video, at 10 a second; 2 a second are stored, at least 4 if there are so many.
LENGTHS = (40, 2, 25, 10, 33, 5, 60, 3, 20, 15)
STORED = (8, 2, 5, 4, 7, 4, 8, 3, 4, 4)


def make_small_set(folder, captions=("about {}", "a cat by {}")):
    """Ten videos, in splits "train" and "test" alike, with captions that name them."""
    files = [
        write_grey_video(folder / f"{i}.mp4", range(n), size=(32, 32))
        for i, n in enumerate(LENGTHS)
    ]
    videos = [make_video_entry(file) for file in files]
    videos = [
        type(video)(
            id=video.id, file=video.file, group=f"g{i // 2}",
            captions=tuple(caption.format(i) for caption in captions),
        )
        for i, video in enumerate(videos)
    ]  # fmt: skip
    builder = make_listed_set(folder, train=videos, test=videos[:7])

    def decode_here(requests, **options):
        return ((request, workers.decode_file(request)) for request in requests)

    with pytest.MonkeyPatch.context() as patch:  # without the second that a process takes to start
        patch.setattr(workers, "decode_all", decode_here)
        prepare.prepare(builder, quiet=True)
    return Prepared(builder.data_dir, "train"), Prepared(builder.data_dir, "test")
