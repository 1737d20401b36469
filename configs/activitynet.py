"""ActivityNet Captions, paragraph to video: 10,009 videos to train on, tested on val_1.

python -m tempme_jax.main --config=configs/activitynet.py:tempme
"""

from configs import common


def get_config(words: str = "tempme"):
    """64 frames, 64 words, where the method does not say otherwise."""
    config = common.get_config(words, long=True)
    config.data.name = "activitynet"
    return config
