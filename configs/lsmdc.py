"""LSMDC, 101,079 short videos from movies, tested on 1,000.

python -m tempme_jax.main --config=configs/lsmdc.py:tempme
"""

from configs import common


def get_config(words: str = "tempme"):
    """Return settings with 12 frames and 32 words, unless the method's recipe differs."""
    config = common.get_config(words, data="lsmdc")
    config.data.name = "lsmdc"
    return config
