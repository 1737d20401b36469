"""UMT on the built-in set: 96 captions in which the order of two moves matters (minutes on a CPU).

    python -m tempme_jax.main --config=configs/umt_moving_shapes.py:umt4clip+tempme

The others are ":umt" and ":umt4clip". The model is a tiny UMT that was pretrained on single frames,
then on the training videos as `umt` sees them (`configs/tiny_umt.py`); it comes with the package.
Frames apart are new to it. A method that ignores the order of frames can only guess between a video
and its reverse: about 50 % R@1.
"""

from configs import common


def get_config(words: str = "umt4clip+tempme"):
    """Return the settings for adapting the tiny UMT to videos of 8 frames."""
    config = common.set_moving_shapes(common.get_umt_config(words))
    common.set_tiny_umt(config)

    config.train.batches = "distinct"  # a video and its reverse are in one batch
    config.train.steps = 200
    config.train.vtc_weight = 1.0
    config.train.negative_group = 0

    # The two best are mostly a video and its reverse. With more, the head did worse than the
    # vectors, with an earlier tiny UMT.
    config.evaluate.rerank = 2
    config.evaluate.select_by = "R-Sum"
    return config
