"""The built-in set: 96 captions in which the order of two moves matters (minutes on a CPU).

    python -m tempme_jax.main --config=configs/moving_shapes.py:tempme

The model is a tiny CLIP that was pretrained on single frames (`configs/tiny_clip.py`) and comes
with the package. A method that averages frames finds at best every second video.

All methods train alike, by the shared recipe and with what is set below; if `own` stands behind
the method, by its own recipe and with what is set below.
"""

from configs import common

# What is other than of all, by the first word of the method.
TRAIN = {
    "full": {"learning_rate": 1e-3},  # all parameters of CLIP take smaller steps
    "plevu": {"temperature": 0.07},  # its vectors are not CLIP's
    # Few steps, so that its logits take large ones.
    "diffrate-search": {
        "learning_rate": 1e-1, "final_rate": 0.1, "warmup": 0.0, "weight_decay": 0.0,
    },
}  # fmt: skip


def get_config(words: str = "tempme"):
    """Adaptation to videos of 8 frames."""
    config = common.moving_shapes(common.get_config(words, recipe="shared"))

    config.model.weights = "tiny-clip"
    config.model.num_frames = 8

    options = config.model.options
    if "rank" in options:
        options.rank = 32
    if "r" in options:
        options.r = 1  # of 16 patches
    if "granularity" in options:
        options.weight = 5e6  # a thousandth of the multiply-accumulates of ViT-B/32, squared
    if "groups" in options:
        options.layers = (3, 4, 5)  # the last blocks of six
        options.groups = (2, 2, 2)
    if "position_std" in options:
        # From zero, as published, order is learned far more slowly here.
        options.position_std = 0.2

    config.train.batch_size = 64
    config.train.batches = "distinct"  # a video and its reverse are in one batch
    config.train.epochs = 0
    config.train.steps = 200
    config.train.frame_sampling = "uniform"
    config.train.augmentation = "none"
    config.train.learning_rate = 1e-2
    config.train.evaluate_every = 50
    config.train.checkpoint_every = 50
    config.train.update(TRAIN.get(common.first_of(config.model.method), {}))

    config.evaluate.frame_sampling = "uniform"
    config.evaluate.batch_size = 32
    return config
