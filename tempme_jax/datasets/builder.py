"""The base class of the data sets: a TFDS builder whose videos `prepare` decodes."""

from typing import Any

from tempme_jax.datasets.base import VideoSet
from tempme_jax.datasets.prepare import prepare


class VideoText(VideoSet, skip_registration=True):
    """The base class of every data set; see `VideoSet`."""

    def download_and_prepare(self, **options: Any) -> None:
        """Decode the videos and store their frames; the options are those of `prepare`."""
        prepare(self, **options)
