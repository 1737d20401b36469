"""MSVD, 1,200 videos to train on, tested on 670 with about 40 sentences each.

    python -m tempme_jax.main --config=configs/msvd.py:tempme

Every sentence is a query. From video to text, a video's best sentence is ranked among the best ones
of the other videos, as in CLIP4Clip; with --config.evaluate.rivals=captions among all of theirs.
"""

from configs import common


def get_config(words: str = "tempme"):
    """Return settings with 12 frames and 32 words, unless the method's recipe differs."""
    config = common.get_config(words, data="msvd")
    config.data.name = "msvd"
    config.evaluate.rivals = "videos"
    return config
