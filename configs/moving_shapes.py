"""The built-in set: 96 captions in which the order of two moves matters (minutes on a CPU).

    python -m tempme_jax.main --config=configs/moving_shapes.py:tempme

The model is a tiny CLIP that was pretrained on single frames (`configs/tiny_clip.py`) and comes
with the package. A method that ignores the order of frames can only guess between the two: about
50 % R@1.

All methods train with the shared recipe and the settings below. With `:METHOD,own` a method starts
from its own recipe instead.

    python -m tempme_jax.main --config=configs/moving_shapes.py:tempme,hard

is the harder set of 384 captions: three moves of two shapes, 16 frames, and hard negatives of four
kinds. A method that ignores the order of frames finds at most about 25 % R@1 there.
"""

from configs import common

HARD = "hard"  # the word for the harder set, and its variant
# Options by the first half of the method, which is learned: larger ranks for a tiny model.
LEARNED = {
    method: {"rank": 32}
    for method in ("lora", "rap", "evit", "diffrate", "sta", "tome", "testa", "tempme")
}
# Options by the last half, which merges tokens: for 6 blocks, 8 frames and 16 patches.
MERGING = {
    "tome": {"r": 1},
    "testa": {"r": 1},
    # From zero, as published, order is learned far more slowly here.
    "tempme": {"r": 1, "layers": (3, 4, 5), "groups": (2, 2, 2), "position_std": 0.2},
    **dict.fromkeys(("vop-f", "vop-fp", "vop-fc"), {"position_std": 0.2}),
    # A thousandth of the published one: the weight of multiply-accumulates of ViT-B/32, squared.
    "diffrate-search": {"weight": 5e6},
}
# The same for the 16 frames of the hard set, where they differ.
MERGING_HARD = {"tempme": {"layers": (2, 3, 4, 5), "groups": (2, 2, 2, 2)}}
# Exceptions from the recipe that all methods share, by the first half of the method.
TRAIN = {
    "full": {"learning_rate": 1e-3},  # training all of CLIP needs smaller steps
    "plevu": {"temperature": 0.07},  # CLIP's temperature does not fit its vectors
    # There are few steps, so they must be large.
    "diffrate-search": {
        "learning_rate": 1e-1, "final_rate": 0.1, "warmup": 0.0, "weight_decay": 0.0,
    },
}  # fmt: skip


def get_config(words: str = "tempme"):
    """Return the settings for adapting the tiny CLIP to videos of 8 frames, or 16 of the hard set.

    Args:
        words: as for `common.get_config`; with "hard" among them, the hard set.
    """
    others = [word for word in words.split(",") if word != HARD]
    is_hard = HARD in words.split(",")
    config = common.get_config(",".join(others) or "tempme", recipe="shared", variants=[HARD])
    config = common.set_moving_shapes(config)

    config.model.weights = "tiny-clip"
    config.model.num_frames = 8

    first, last = common.split_halves(config.model.method)
    config.model.options.update(LEARNED.get(first, {}))
    config.model.options.update(MERGING.get(last, {}))
    if is_hard:
        config.data.variant = HARD
        config.data.least = config.data.most = config.model.num_frames = 16
        config.model.max_words = 16
        config.model.options.update(MERGING_HARD.get(last, {}))

    config.train.batch_size = 64
    config.train.batches = "distinct"  # a video and its reverse are in one batch
    config.train.epochs = 0
    config.train.steps = 200
    config.train.frame_sampling = "uniform"
    config.train.augmentation = "none"
    config.train.learning_rate = 1e-2
    config.train.evaluate_every = 50
    config.train.checkpoint_every = 50
    config.train.update(TRAIN.get(first, {}))

    config.evaluate.frame_sampling = "uniform"
    config.evaluate.batch_size = 32
    return config
