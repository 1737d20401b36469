"""The tiny CLIP of the built-in set, pretrained from random weights on single frames.

The weights that come with the package were made by

    python -m tempme_jax.main --config=configs/tiny_clip.py --workdir=workdir/tiny-clip
    tempme export workdir/tiny-clip tempme_jax/datasets/tiny_clip.safetensors --backbone --overwrite

A single frame shows colour, shape and place, never which move came first.

`tiny_tempme.safetensors` beside it is TempMe trained on it, stored in float16 by

    python -m tempme_jax.main --config=configs/moving_shapes.py:tempme --workdir=workdir/tiny-tempme
    python -c '
    import dataclasses, jax, tempme_jax
    model = tempme_jax.load("workdir/tiny-tempme")
    half = jax.tree.map(lambda array: array.astype("float16"), model.params)
    model = dataclasses.replace(model, params=half)
    model.save("tempme_jax/datasets/tiny_tempme.safetensors")'
"""

from configs import common


def get_config(words: str = "full"):
    """Return the settings for pretraining from scratch."""
    config = common.set_moving_shapes(common.get_config(words, recipe="shared"))

    config.model.weights = ""
    config.model.architecture = dict(
        embed_dim=64, image_size=64, patch=16, width=64, depth=6, heads=4,
        text_width=64, text_depth=4, text_heads=4, vocab_size=8192,
    )  # fmt: skip
    config.model.options.embeddings = True
    config.model.num_frames = 1

    config.train.batch_size = 96
    config.train.batches = "distinct"
    config.train.epochs = 0
    config.train.steps = 1000
    config.train.frame_sampling = "random_segment"  # with one frame: any frame of the video
    config.train.augmentation = "none"
    config.train.learning_rate = 2e-3
    config.train.weight_decay = 0.05
    config.train.b2 = 0.98
    config.train.clip_norm = 0.0

    config.evaluate.frame_sampling = "uniform"
    config.evaluate.select_on = "last"
    return config
