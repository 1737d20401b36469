"""DiDeMo, paragraph to video: 8,392 videos to train on, tested on 1,004.

python -m tempme_jax.main --config=configs/didemo.py:tempme
"""

from configs import common


def get_config(words: str = "tempme"):
    """Return settings with 64 frames and 64 words, unless the method's recipe differs."""
    config = common.get_config(words, data="didemo", long=True)
    config.data.name = "didemo"
    return config
