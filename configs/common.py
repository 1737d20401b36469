"""What the config files have in common: the published recipes, and the backbones by short names."""

from tempme_jax.checks import require_one_of
from tempme_jax.training.flags import defaults

# The paper's (Table 14), and CLIP L/14. LaCLIP's is made by `tempme convert` of its .pt file.
BACKBONES = {
    "b32": "openai/clip-vit-base-patch32",
    "b16": "openai/clip-vit-base-patch16",
    "l14": "openai/clip-vit-large-patch14",
    "metaclip-b16": "facebook/metaclip-b16-400m",
    "laclip-b16": "laion400m_laclip_vitb16.safetensors",
}
CHOICES = ("own", "shared")

# TempMe's, with which it trains what it compares (the paper, section 4.1).
SHARED = {
    "model": {"num_frames": 12, "max_words": 32},
    "train": {
        "batch_size": 128, "epochs": 5, "learning_rate": 6e-4, "warmup": 0.1, "weight_decay": 0.2,
    },
}  # fmt: skip
# For paragraphs and minutes of video (the paper, Table 1).
SHARED_LONG = {
    "data": {"least": 64, "most": 64},
    "model": {"num_frames": 64, "max_words": 64},
}

# Huang et al., CVPR 2023: 12 frames also of long videos. Its rate is not published.
VOP = {
    "model": {"num_frames": 12},
    "train": {
        "batch_size": 32, "epochs": 5, "learning_rate": 1e-3, "warmup": 0.0, "weight_decay": 0.2,
        "frame_sampling": "random_segment",
    },
}  # fmt: skip
# What each method sets otherwise, by the first word of its name. What is not here trains with the
# shared recipe: so did TempMe's authors, or there is none of its own.
RECIPES = {
    # CLIP4Clip, Luo et al., Neurocomputing 2022 (https://github.com/ArrowLuo/CLIP4Clip).
    "full": {
        "train": {
            "learning_rate": 1e-7, "b2": 0.98, "decay_biases": False, "augmentation": "none",
        },
    },
    "vop": VOP,
    "vop-p": VOP,
    "vop-c": VOP,
    "vop-f": VOP,
    "vop-fp": VOP,
    "vop-fc": VOP,
    # Yang et al., AAAI 2024; the scripts of LSMDC and of MSR-VTT (https://github.com/knightyxp/DGL).
    "dgl": {
        "train": {
            "batch_size": 64, "epochs": 10, "learning_rate": 1e-2, "warmup": 0.1,
            "weight_decay": 0.2, "b2": 0.98, "frame_sampling": "random_segment",
            "augmentation": "none",
        },
    },
    "dgl-transformer": {
        "train": {
            "batch_size": 128, "epochs": 5, "learning_rate": 2e-3, "warmup": 0.1,
            "weight_decay": 0.2, "b2": 0.98, "frame_sampling": "random_segment",
            "augmentation": "none",
        },
    },
    # Ju et al., ECCV 2022 (https://github.com/ju-chen/Efficient-Prompt): its cosine restarts only
    # after 200,000 steps.
    "plevu": {
        "model": {"num_frames": 16},
        "train": {
            "batch_size": 64, "learning_rate": 1e-4, "schedule": "constant", "warmup": 0.0,
            "weight_decay": 0.01, "temperature": 0.07, "augmentation": "none",
        },
    },
    # Jin et al., CVPR 2024 (https://github.com/zhangbw17/MV-Adapter).
    "mv-adapter": {
        "train": {
            "batch_size": 128, "epochs": 5, "learning_rate": 5e-6, "warmup": 0.1,
            "weight_decay": 0.2, "b2": 0.98, "decay_biases": False, "augmentation": "none",
        },
    },
    # The search of Chen et al., ICCV 2023 (https://github.com/OpenGVLab/DiffRate).
    "diffrate-search": {
        "train": {
            "learning_rate": 1e-2, "final_rate": 0.1, "warmup": 0.0, "weight_decay": 0.0,
        },
    },
}  # fmt: skip
# The same for paragraphs and minutes of video, of ActivityNet.
RECIPES_LONG = {
    "plevu": {"model": {"max_words": 45}},  # all that its prompts leave room for
    "dgl": {"train": {"batch_size": 16}},
    "mv-adapter": {"model": {"num_frames": 32}, "train": {"batch_size": 64, "epochs": 15}},
}


def get_config(words: str = "tempme", *, long: bool = False, recipe: str = "own"):
    """A method with a recipe; every setting is in `tempme_jax.training.config`.

    Args:
        words: what stands behind the colon of --config: a method, and behind commas, if given, a
            backbone and a recipe: "own" is that of the method, "shared" is TempMe's. Such as
            "tempme", "tempme,b16" or "dgl,b32,shared".
        long: whether it is for paragraphs and minutes of video.
        recipe: which one, where the words do not say it.

    Raises:
        ValueError: if a word is unknown, or there are two of a kind; it says what there is.
    """
    method, backbone, recipe = chosen(words, recipe)
    config = defaults(method)
    config.model.weights = BACKBONES[backbone]
    config.update(SHARED)
    if long:
        config.update(SHARED_LONG)
    if recipe == "own":
        config.update(RECIPES.get(first_of(method), {}))
        if long:
            config.update(RECIPES_LONG.get(first_of(method), {}))
    config.seed = 42
    return config


def chosen(words: str, recipe: str) -> tuple[str, str, str]:
    """The method, the backbone (b32 where there is none), and the recipe."""
    method, *others = words.split(",")
    for word in others:
        require_one_of(word, [*BACKBONES, *CHOICES], "backbone or recipe")
    backbones = [word for word in others if word in BACKBONES]
    recipes = [word for word in others if word in CHOICES]
    if len(backbones) > 1 or len(recipes) > 1:
        raise ValueError(f"{words!r} names two backbones or two recipes; choose one of each")
    return method, *(backbones or ["b32"]), *(recipes or [recipe])


def first_of(method: str) -> str:
    """The first word of a method: what is learned, where two are joined."""
    return method.split("+")[0]


def moving_shapes(config):
    """The built-in set: of each video the 8 frames whose places do not tell its direction."""
    config.data.name = "moving_shapes"
    config.data.size = 64
    config.data.fps = None  # evenly spread
    config.data.least = 8
    config.data.most = 8
    config.model.max_words = 12
    return config
