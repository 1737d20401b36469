"""Questions about the built-in set, such as "which way does it go first" (minutes on a CPU).

    python -m tempme_jax.main --config=configs/umt_moving_shapes_qa.py:umt4clip+tempme

The others are ":umt" and ":umt4clip". The model is the tiny UMT of `configs/tiny_umt.py`. Two of
the four questions about a video ask for the order of its moves; whatever ignores the order of
frames answers at most half of these rightly. What a trained model knows without that order:

    tempme evaluate WORKDIR --config=configs/umt_moving_shapes_qa.py
        --config.evaluate.frame_sampling=shuffled
"""

from configs import common


def get_config(words: str = "umt4clip+tempme"):
    """Return the settings for training the tiny UMT on questions about videos of 8 frames."""
    config = common.set_moving_shapes(common.get_umt_config(words))
    common.set_tiny_umt(config)
    config.data.name = "moving_shapes_qa"
    config.data.root = "data/moving_shapes"  # the same videos

    config.model.architecture.backbone = "umt-qa"

    config.train.steps = 600

    config.evaluate.rerank = 0
    return config
