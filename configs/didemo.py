"""DiDeMo, paragraph to video: 8,392 videos to train on, tested on 1,004.

python -m tempme_jax.main --config=configs/didemo.py:tempme
"""

from configs import common


def get_config(words: str = "tempme"):
    """64 frames, 64 words, where the method does not say otherwise."""
    config = common.get_config(words, long=True)
    config.data.name = "didemo"
    return config
