"""Shared by the config files: the published recipes, and short names of backbones."""

from collections.abc import Sequence

from tempme_jax.checks import require_one_of
from tempme_jax.training.flags import make_defaults

# The paper's backbones (Tables 6 and 14), and CLIP L/14. `tempme convert` makes the files of LaCLIP
# and UMT (b16_25m.pth).
BACKBONES = {
    "b32": "openai/clip-vit-base-patch32",
    "b16": "openai/clip-vit-base-patch16",
    "l14": "openai/clip-vit-large-patch14",
    "metaclip-b16": "facebook/metaclip-b16-400m",
    "laclip-b16": "laion400m_laclip_vitb16.safetensors",
    "umt-b16": "b16_25m.safetensors",
}
CHOICES = ("own", "shared", "single")

# The defaults of `tempme_jax.training.config` are TempMe's recipe, with which the paper trains all
# methods that it compares (section 4.1). For paragraphs and videos of minutes (the paper, Table 1):
SHARED_LONG = {
    "data": {"least": 64, "most": 64},
    "model": {"num_frames": 64, "max_words": 64},
}

# Huang et al., CVPR 2023: 12 frames also for long videos. Its learning rate is not published.
VOP = {
    "model": {"num_frames": 12},
    "train": {
        "batch_size": 32, "learning_rate": 1e-3, "warmup": 0.0, "frame_sampling": "random_segment",
        "augmentation": "none",
    },
}  # fmt: skip
# Yang et al., AAAI 2024: both scripts (https://github.com/knightyxp/DGL).
DGL = {
    "b2": 0.98, "decay_biases": False, "frame_sampling": "random_segment", "augmentation": "none",
}  # fmt: skip
# What a method's own recipe changes, by the first half of its name. Methods that are not listed
# train with the shared recipe, as in the paper.
RECIPES = {
    # CLIP4Clip, Luo et al., Neurocomputing 2022 (https://github.com/ArrowLuo/CLIP4Clip).
    "full": {
        "train": {
            "learning_rate": 1e-7, "b2": 0.98, "decay_biases": False, "augmentation": "none",
        },
    },
    **dict.fromkeys(("vop", "vop-p", "vop-c", "vop-f", "vop-fp", "vop-fc"), VOP),
    # The script of LSMDC, and that of MSR-VTT.
    "dgl": {"train": DGL | {"batch_size": 64, "epochs": 10, "learning_rate": 1e-2}},
    "dgl-transformer": {"train": DGL | {"learning_rate": 2e-3}},
    # Ju et al., ECCV 2022 (https://github.com/ju-chen/Efficient-Prompt): its cosine restarts only
    # after 200,000 steps.
    "plevu": {
        "model": {"num_frames": 16},
        "train": {
            "batch_size": 64, "learning_rate": 1e-4, "schedule": "constant", "warmup": 0.0,
            "weight_decay": 0.01, "eps": 1e-8, "clip_norm": 0.0, "temperature": 0.07,
            "augmentation": "none",
        },
    },
    # Jin et al., CVPR 2024 (https://github.com/zhangbw17/MV-Adapter).
    "mv-adapter": {
        "train": {
            "learning_rate": 5e-6, "b2": 0.98, "decay_biases": False, "augmentation": "none",
            "frame_sampling": "uniform",
        },
        "evaluate": {"frame_sampling": "uniform"},
    },
    # The search of Chen et al., ICCV 2023 (https://github.com/OpenGVLab/DiffRate).
    "diffrate-search": {
        "train": {
            "learning_rate": 1e-2, "final_rate": 0.1, "warmup": 0.0, "weight_decay": 0.0,
            "eps": 1e-8, "clip_norm": 0.0,
        },
    },
}  # fmt: skip
# The same for paragraphs and videos of minutes; published for ActivityNet.
RECIPES_LONG = {
    "plevu": {"model": {"max_words": 45}},  # its prompts leave room for no more
    "dgl": {"train": {"batch_size": 128}},  # 16 on each of 8 devices
    "mv-adapter": {"model": {"num_frames": 32}, "train": {"batch_size": 64, "epochs": 15}},
}
# Options that a method's released configs give data sets, by the first half of its name.
OPTIONS_OF_SETS = {
    "mv-adapter": {
        "msrvtt": {"tied": 2, "tie": "out"},
        "didemo": {"tied": 2, "tie": "out"},
        "lsmdc": {"tied": 3, "tie": "in"},
        "activitynet": {"tied": 1, "tie": "in"},
    },
}
# The recipe "single": rates with which float32 weights move as far as the float16 weights of the
# published code do at its own rates. docs/methods/full.md says why, and how they were measured.
SINGLE_RATES = {"full": 5e-6, "mv-adapter": 5e-4}

# Li et al., ICCV 2023 (https://github.com/OpenGVLab/unmasked_teacher): retrieval. UMT draws from
# all frames of a video; here five are stored for each of its spans, of whichever length they are.
UMT_WAYS = {"umt": "full+joined", "umt4clip": "full", "umt4clip+tempme": "full+tempme"}
UMT = {
    "data": {"resize": "squash", "fps": None, "least": 60, "most": 60},
    "model": {"num_frames": 12, "max_words": 32},
    "train": {
        "batch_size": 256, "epochs": 10, "learning_rate": 1e-5, "warmup": 0.1, "least_rate": 0.01,
        "optimizer": "adamw", "weight_decay": 0.02, "eps": 1e-8, "clip_norm": 0.0,
        "decay_vectors": False, "drop_path": 0.2, "dropout": 0.1, "vtc_weight": 1 / 8,
        "frame_sampling": "umt_random", "augmentation": "umt", "evaluate_every": 703,
        "checkpoint_every": 703,
    },
    "evaluate": {"frame_sampling": "umt", "rerank": 128, "select_by": "r_mean"},
}  # fmt: skip


def get_config(
    words: str = "tempme",
    *,
    data: str = "",
    long: bool = False,
    recipe: str = "own",
    variants: Sequence[str] = (),
):
    """Return the settings of a method with a recipe; `tempme_jax.training.config` explains them.

    Args:
        words: METHOD, METHOD,BACKBONE or METHOD,BACKBONE,RECIPE, the part of --config behind the
            colon, such as "tempme", "tempme,b16" or "dgl,b32,shared". The recipe "own" is the
            method's, "shared" is TempMe's, "single" is "own" at `SINGLE_RATES`.
        data: name of the data set, if a method's own recipe depends on it.
        long: whether the data are paragraphs and videos of minutes.
        recipe: the recipe if the words name none.
        variants: further words, which the caller has taken out, for the message of an unknown one.

    Raises:
        ValueError: if a word is unknown, or two name a backbone or a recipe.
    """
    method, backbone, recipe = parse_words(words, recipe, variants)
    first, _ = split_halves(method)
    config = make_defaults(method)
    config.model.weights = BACKBONES[backbone]
    if long:
        config.update(SHARED_LONG)
    if recipe != "shared":
        config.update(RECIPES.get(first, {}))
        if long:
            config.update(RECIPES_LONG.get(first, {}))
        config.model.options.update(OPTIONS_OF_SETS.get(first, {}).get(data, {}))
    if recipe == "single":
        config.train.learning_rate = SINGLE_RATES.get(first, config.train.learning_rate)
    config.seed = 42
    return config


def get_umt_config(words: str):
    """Return the settings of a method on UMT with its recipe for retrieval.

    Args:
        words: "umt", "umt4clip" or "umt4clip+tempme", or words as for `get_config`, all of whose
            recipes are UMT's.

    Raises:
        ValueError: if a word is unknown, or names a backbone of CLIP.
    """
    method, *others = words.split(",")
    if method.startswith("umt"):
        require_one_of(method, UMT_WAYS, "way to run UMT")
    others += [] if set(others) & BACKBONES.keys() else ["umt-b16"]
    config = get_config(",".join([UMT_WAYS.get(method, method), *others]), recipe="shared")
    if config.model.weights != BACKBONES["umt-b16"]:
        raise ValueError(f"{words!r} does not name UMT; leave the backbone out, or give umt-b16")
    config.update(UMT)
    config.model.architecture.backbone = "umt"  # so other weights are refused
    return config


def parse_words(words: str, recipe: str, variants: Sequence[str]) -> tuple[str, str, str]:
    """Return the method, the backbone ("b32" if the words name none), and the recipe."""
    method, *others = words.split(",")
    for word in others:
        require_one_of(word, [*BACKBONES, *CHOICES, *variants], "word of the config")
    backbones = [word for word in others if word in BACKBONES]
    recipes = [word for word in others if word in CHOICES]
    if len(backbones) > 1 or len(recipes) > 1:
        raise ValueError(f"{words!r} names two backbones or two recipes; choose one of each")
    return method, (backbones or ["b32"])[0], (recipes or [recipe])[0]


def split_halves(method: str) -> tuple[str, str]:
    """Return the names of what is learned and of what merges tokens, the same without a "+"."""
    first, _, last = method.partition("+")
    return first, last or first


def set_moving_shapes(config):
    """Choose the built-in set, with the 8 frames whose places do not show a video's direction."""
    config.data.name = "moving_shapes"
    config.data.size = 64
    config.data.fps = None  # evenly spread
    config.data.least = 8
    config.data.most = 8
    config.model.max_words = 12
    return config


def set_tiny_umt(config):
    """Begin with the tiny UMT that comes with the package; TempMe has its defaults for UMT."""
    config.data.resize = "squash"
    config.model.weights = "tiny-umt"
    config.model.num_frames = 8
    if split_halves(config.model.method)[1] == "tempme":
        # From zero, as published, order is learned far more slowly here.
        config.model.options.position_std = 0.2
    config.train.batch_size = 64
    config.train.epochs = 0
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
    return config
