"""ActivityNet Captions, paragraph to video: 10,009 videos to train on, tested on val_1.

python -m tempme_jax.main --config=configs/activitynet.py:tempme
"""

from configs import common


def get_config(words: str = "tempme"):
    """Return settings with 64 frames and 64 words, unless the method's recipe differs."""
    config = common.get_config(words, data="activitynet", long=True)
    config.data.name = "activitynet"
    return config
