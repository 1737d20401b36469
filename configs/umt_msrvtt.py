"""UMT on MSR-VTT, 9,000 videos to train on, tested on the 1,000 pairs of split 1k-A (Table 6).

    tempme convert b16_25m.pth b16_25m.safetensors
    python -m tempme_jax.main --config=configs/umt_msrvtt.py:umt4clip+tempme

The others are ":umt" and ":umt4clip"; of "METHOD,umt-b16" any method. Published are 8 devices with
32 pairs each, whose gradients `train.vtc_weight` and `train.negative_group` reproduce on any number
of devices. UMT selects its checkpoint on the test split once every epoch, and trains on all 9,000
videos; to do the same, add
--config.evaluate.select_on=test --config.data.train=train+validation
"""

from configs import common


def get_config(words: str = "umt4clip+tempme"):
    """Return UMT's recipe with 12 frames and 32 words."""
    config = common.get_umt_config(words)
    config.data.name = "msrvtt"
    config.data.variant = "9k"  # or "7k"
    return config
