"""What the config files have in common: the published recipe, and the backbones by short names."""

from tempme_jax.config import defaults
from tempme_jax.options import known

# The paper's (Table 14), and CLIP L/14. LaCLIP's is made by `tempme convert` of its .pt file.
BACKBONES = {
    "b32": "openai/clip-vit-base-patch32",
    "b16": "openai/clip-vit-base-patch16",
    "l14": "openai/clip-vit-large-patch14",
    "metaclip-b16": "facebook/metaclip-b16-400m",
    "laclip-b16": "laion400m_laclip_vitb16.safetensors",
}

# What is learned otherwise than by the recipe below, by the first word of the method: the row of
# full fine-tuning is CLIP4Clip's.
RECIPES = {"full": {"learning_rate": 1e-7, "b2": 0.98}}


def get_config(words: str = "tempme"):
    """The recipe of TempMe (the paper, section 4.1); every setting is in `tempme_jax.settings`.

    Args:
        words: what stands behind the colon of --config: a method, and behind a comma a backbone,
            such as "tempme,b16".
    """
    method, _, backbone = words.partition(",")
    config = defaults(method)

    config.model.weights = BACKBONES[known(backbone or "b32", BACKBONES, "backbone")]
    config.model.num_frames = 12
    config.model.max_words = 32

    config.train.batch_size = 128
    config.train.epochs = 5
    config.train.learning_rate = 6e-4
    config.train.warmup = 0.1
    config.train.weight_decay = 0.2
    config.train.update(RECIPES.get(method.split("+")[0], {}))

    config.seed = 42
    return config


def long_videos(config):
    """The recipe for paragraphs and minutes of video: 64 frames, 64 words (the paper, Table 1)."""
    config.data.least = 64
    config.data.most = 64
    config.model.num_frames = 64
    config.model.max_words = 64
    return config


def moving_shapes(config):
    """The built-in set: of each video the 8 frames whose places do not tell its direction."""
    config.data.name = "moving_shapes"
    config.data.size = 64
    config.data.fps = None  # evenly spread
    config.data.least = 8
    config.data.most = 8
    config.model.max_words = 12
    return config
