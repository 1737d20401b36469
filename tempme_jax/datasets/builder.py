"""The base class of the data sets: a TFDS builder with our own preparation."""

from typing import Any

from tempme_jax.datasets.base import VideoSet
from tempme_jax.datasets.prepare import prepare


class VideoText(VideoSet, skip_registration=True):
    """A set of videos with captions, to be subclassed; see `VideoSet`."""

    def download_and_prepare(self, **options: Any) -> None:
        """Decode the videos and store their frames; options as for `prepare`."""
        prepare(self, **options)
