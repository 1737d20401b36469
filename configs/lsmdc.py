"""LSMDC, 101,079 clips of movies, tested on 1,000.

python -m tempme_jax.main --config=configs/lsmdc.py:tempme
"""

from configs import common


def get_config(words: str = "tempme"):
    """12 frames, 32 words, where the method does not say otherwise."""
    config = common.get_config(words)
    config.data.name = "lsmdc"
    return config
