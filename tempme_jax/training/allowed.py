"""Which values of the settings are allowed, alone and together."""

import dataclasses
import math

from tempme_jax.checks import require_one_of, require_whole
from tempme_jax.devices import DTYPES
from tempme_jax.late_interaction import require_tau
from tempme_jax.methods import replace_options, split_method
from tempme_jax.networks.architecture import Architecture
from tempme_jax.networks.clip import LEAST_TAU
from tempme_jax.training.config import Config, TrainSettings


def check_config(config: Config) -> None:
    """Raise a ValueError for settings that are not allowed, alone or together."""
    data, model, evaluate = config.data, config.model, config.evaluate
    options = {name: value for name, value in model.options.items() if value is not None}
    replace_options(model.method, *split_method(model.method), options)
    sizes = {field.name for field in dataclasses.fields(Architecture)}
    for name in model.architecture:
        require_one_of(name, sizes, "size of a model")
    require_one_of(model.dtype, DTYPES, "model.dtype")
    check_training(config.train)
    for name in ("size", "least", "most"):
        require_whole(f"data.{name}", getattr(data, name), least=1)
    for name in ("batch_size", "candidates"):
        require_whole(f"evaluate.{name}", getattr(evaluate, name), least=1)
    require_whole("evaluate.rerank", evaluate.rerank, least=0)
    if evaluate.tau:
        require_tau("evaluate.tau", evaluate.tau)
    weightings = [name for name in ("dual_softmax", "qb_norm", "rerank") if getattr(evaluate, name)]
    if len(weightings) > 1:
        both = " and ".join(f"evaluate.{name}" for name in weightings[:2])
        raise ValueError(f"{both} are both on; choose one")
    if not model.weights and not model.architecture:
        raise ValueError(
            "config.model.weights is empty: name pretrained weights, such as "
            "'openai/clip-vit-base-patch32', or give sizes in config.model.architecture"
        )


def check_training(train: TrainSettings) -> None:
    """Raise a ValueError for settings of training that are not allowed."""
    require_whole("train.batch_size", train.batch_size, least=2)
    counts = ("steps", "gradient_cache", "log_every", "evaluate_every", "checkpoint_every")
    for name in (*counts, "negative_group"):
        require_whole(f"train.{name}", getattr(train, name), least=0)
    if train.negative_group == 1:
        raise ValueError("train.negative_group=1 has no other pair to draw from; give 2 or more")
    for name in ("drop_path", "dropout"):
        if not 0 <= (share := getattr(train, name)) < 1:
            raise ValueError(f"train.{name}={share} must be a share, 0 to below 1")
    if not 0 <= train.least_rate <= 1:
        raise ValueError(f"train.least_rate={train.least_rate} must be a share of the peak, 0 to 1")
    if not 0 <= train.vtc_weight < math.inf:
        raise ValueError(f"train.vtc_weight={train.vtc_weight} must be a number, 0 or more")
    require_whole("train.epochs", train.epochs, least=0 if train.steps else 1)
    if not 0 <= train.warmup < 1:
        raise ValueError(f"train.warmup={train.warmup} must be a share of the steps, 0 to below 1")
    if not 0 <= train.final_rate <= 1:
        raise ValueError(f"train.final_rate={train.final_rate} must be a share of the peak, 0 to 1")
    if train.final_rate and train.schedule == "constant":
        given = f"train.final_rate={train.final_rate} is where a cosine ends"
        raise ValueError(f"{given}; set it to 0, or choose train.schedule='cosine'")
    if not 0 <= train.temperature < math.inf:
        given = f"train.temperature={train.temperature}"
        raise ValueError(f"{given} must be a positive number, or 0 for CLIP's own")
    if not LEAST_TAU <= require_tau("train.tau", train.tau) < math.inf:
        raise ValueError(
            f"train.tau={train.tau} is where learning it begins, which keeps it at "
            f"{LEAST_TAU:g} or above; give such a number, as 0.1"
        )
    strengths = train.dial_strengths
    if not strengths or not all(0 <= one < math.inf for one in strengths):
        raise ValueError(
            f"train.dial_strengths={strengths} must be numbers of 0 or more, at least one, such as "
            "(1, 2, 4): how many times as many tokens merge as the method's options say"
        )
    if train.gradient_cache and train.batch_size % train.gradient_cache:
        raise ValueError(
            f"train.batch_size={train.batch_size} cannot be cut into parts of "
            f"train.gradient_cache={train.gradient_cache}; choose one that divides it"
        )
