"""Questions about the built-in set, such as "which way does it go first" (minutes on a CPU).

    python -m tempme_jax.main --config=configs/umt_moving_shapes_qa.py:umt4clip+tempme

A tiny UMT learns to answer from random weights. Two of the four questions about a video ask for the
order of its moves; whatever ignores the order of frames answers at most half of these rightly. How
much a model knows without that order:

    tempme evaluate WORKDIR --config=configs/umt_moving_shapes_qa.py
        --config.evaluate.frame_sampling=shuffled
"""

from configs import common

# Options by the last half of the method, which merges tokens: for 4 blocks, 8 frames, 16 patches.
MERGING = {
    "tempme": {
        "r": 1, "layers": (1, 2, 3), "groups": (2, 2, 2), "keep_cross": 0.6, "keep_intra": 0.9,
        "position_std": 0.2,
    },
}  # fmt: skip


def get_config(words: str = "umt4clip+tempme"):
    """Return the settings for training a tiny UMT on questions about videos of 8 frames."""
    config = common.set_moving_shapes(common.get_umt_config(words))
    config.data.name = "moving_shapes_qa"
    config.data.root = "data/moving_shapes"  # the same videos
    config.data.resize = "squash"

    config.model.weights = ""
    config.model.architecture = dict(
        embed_dim=64, image_size=64, patch=16, width=64, depth=4, heads=4,
        text_width=64, text_depth=4, text_heads=4, vocab_size=6144, context_length=32,
        activation="gelu", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), resize="squash",
        tokenizer="bert", backbone="umt-qa", class_tokens=0, first_cross=2,
        frozen_embeddings=False,
    )  # fmt: skip
    config.model.num_frames = 8
    config.model.options.update(MERGING.get(common.split_halves(config.model.method)[1], {}))

    config.train.batch_size = 64
    config.train.epochs = 0
    config.train.steps = 600
    config.train.frame_sampling = "uniform"
    config.train.augmentation = "none"
    config.train.learning_rate = 1e-3
    config.train.clip_norm = 1.0
    config.train.drop_path = 0.0
    config.train.dropout = 0.0
    config.train.evaluate_every = 100
    config.train.checkpoint_every = 100

    config.evaluate.frame_sampling = "uniform"
    config.evaluate.batch_size = 32
    config.evaluate.rerank = 0
    return config
