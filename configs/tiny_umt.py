"""The tiny UMT of the built-in set, pretrained from random weights in two stages.

First it sees single frames, then videos, all frames as one sequence. The weights that come with the
package were made by

    write='
    import sys
    import tempme_jax
    from tempme_jax.parameters import flatten
    from tempme_jax.weights.files import save_weights
    model = tempme_jax.load(sys.argv[1])
    drawn = flatten(tempme_jax.create(model.arch, backbone="umt-qa", method="full").params)
    parts = "transform", "ln_transform", "bias"
    head = {path: a for path, a in drawn.items() if path[0] == "answer" and path[1] in parts}
    half = {path: a.astype("float16") for path, a in (flatten(model.params) | head).items()}
    save_weights(sys.argv[2], half, model.arch)'
    python -m tempme_jax.main --config=configs/tiny_umt.py:full --workdir=workdir/tiny-umt-frames
    python -c "$write" workdir/tiny-umt-frames workdir/tiny-umt-frames.safetensors
    python -m tempme_jax.main --config=configs/tiny_umt.py:umt --workdir=workdir/tiny-umt
    python -c "$write" workdir/tiny-umt tempme_jax/datasets/tiny_umt.safetensors

A single frame shows colour, shape and place; the videos show which move came first. As a file of
UMT's pre-training, it holds a head of words beside the model for retrieval, so it also opens for
question answering; this head is as it was drawn.
"""

from configs import common


def get_config(words: str = "full"):
    """Return the settings of the stage with single frames ("full"), or with videos ("umt")."""
    config = common.set_moving_shapes(common.get_umt_config(words))
    return set_frames(config) if config.model.method == "full" else set_videos(config)


def set_frames(config):
    """Train from scratch on single frames."""
    config.model.weights = ""
    config.model.architecture = dict(
        embed_dim=64, image_size=64, patch=16, width=64, depth=6, heads=4,
        text_width=64, text_depth=4, text_heads=4, vocab_size=6144, context_length=32,
        activation="gelu", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), resize="squash",
        tokenizer="bert", backbone="umt", class_tokens=0, first_cross=2,
        frozen_embeddings=False,
    )  # fmt: skip
    config.model.num_frames = 1

    config.train.batch_size = 96
    config.train.batches = "shuffle"
    config.train.epochs = 0
    config.train.steps = 1000
    config.train.frame_sampling = "random_segment"  # with one frame: any frame of the video
    config.train.augmentation = "none"
    config.train.learning_rate = 2e-3
    config.train.weight_decay = 0.05
    config.train.b2 = 0.98
    config.train.clip_norm = 1.0
    config.train.drop_path = 0.0
    config.train.dropout = 0.0
    config.train.vtc_weight = 1.0
    # The hardest of all wrong partners would be the video's reverse, whose frames are the same:
    # the matching head would learn nothing.
    config.train.negative_group = 4

    config.evaluate.frame_sampling = "uniform"
    config.evaluate.select_on = "last"
    config.evaluate.rerank = 8
    return config


def set_videos(config):
    """Go on with videos of 8 frames, whose reverses are among the wrong partners."""
    common.set_tiny_umt(config)
    config.model.weights = "workdir/tiny-umt-frames.safetensors"

    config.train.batches = "distinct"
    config.train.steps = 200
    config.train.vtc_weight = 1.0
    config.train.negative_group = 0

    config.evaluate.select_on = "last"
    config.evaluate.rerank = 2
    config.seed = 0
    return config
