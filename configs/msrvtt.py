"""MSR-VTT, 9,000 videos to train on, tested on the 1,000 pairs of split 1k-A (Table 2).

    python -m tempme_jax.main --config=configs/msrvtt.py:tempme

data/README.md says where the data come from. The paper selects its checkpoint on the test split
and trains on all 9,000 videos; to do the same, add
--config.evaluate.select_on=test --config.data.train=train+validation
"""

from configs import common


def get_config(words: str = "tempme"):
    """Return settings with 12 frames and 32 words, unless the method's recipe differs."""
    config = common.get_config(words, data="msrvtt")
    config.data.name = "msrvtt"
    config.data.variant = "9k"  # or "7k"
    return config
