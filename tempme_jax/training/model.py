"""The model of a run, before training and after."""

import dataclasses
import math
import os
from typing import Any

import flax.traverse_util
import jax.numpy as jnp

from tempme_jax import methods
from tempme_jax.building import create, open_weights
from tempme_jax.fields import check_type
from tempme_jax.model import Drawn, Model
from tempme_jax.networks.network import LOG_TAU, Network
from tempme_jax.parameters import flatten, join, split
from tempme_jax.plugins import PluginError, load_recorded
from tempme_jax.training.checksums import Progress
from tempme_jax.training.config import Config, EvaluateSettings, ModelSettings, TrainSettings
from tempme_jax.training.facts import read_facts
from tempme_jax.training.flags import build_config
from tempme_jax.training.workdir import CONFIG, WorkdirError, is_workdir, read_config
from tempme_jax.weights.layouts import WeightsError


def build_model(settings: ModelSettings, seed: int) -> Model:
    """Make the model that training begins with.

    Raises:
        ValueError: if `settings.weights` is a workdir.
    """
    shared = {
        "method": settings.method,
        "num_frames": settings.num_frames,
        "max_words": settings.max_words,
        "method_options": {k: v for k, v in settings.options.items() if v is not None},
        "dtype": settings.dtype,
        "seed": seed,
    }
    if settings.weights and is_workdir(settings.weights):
        raise ValueError(
            f"model.weights={settings.weights!r} is the workdir of a training; `tempme export` "
            "makes a file of weights of it"
        )
    if settings.weights:
        backbone = settings.architecture.get("backbone")
        model = open_weights(
            settings.weights, activation=settings.activation, backbone=backbone, **shared
        )
    else:
        model = create(**settings.architecture, **shared)
    return dataclasses.replace(model, network=model.network.copy(remat=settings.remat))


def set_pooling(model: Model, settings: TrainSettings) -> Model:
    """Return a model that compares texts and videos as the settings of its training say.

    Raises:
        ValueError: if texts cannot be compared with frames; it says why not.
    """
    tau = settings.tau if settings.pooling == "text" else 0.0
    if not tau and not model.network.tau:
        return model
    network, flat = model.network.copy(tau=tau), flatten(model.params)
    drawn = model.drawn.paths - {LOG_TAU}
    flat.pop(LOG_TAU, None)
    if tau:
        require_frames(network, model.num_frames, "train.pooling='text'")
        if network.objective != "contrastive":
            raise ValueError(
                "train.pooling='text' changes the contrastive loss of CLIP, and the backbone "
                f"{network.arch.backbone!r} trains with another; set it to 'mean'"
            )
        flat[LOG_TAU], drawn = jnp.float32(math.log(tau)), drawn | {LOG_TAU}
    return dataclasses.replace(
        model, network=network, params=flax.traverse_util.unflatten_dict(flat),
        drawn=model.drawn._replace(paths=drawn),
    )  # fmt: skip


def check_frames(model: Model, settings: EvaluateSettings) -> None:
    """Raise a ValueError if an evaluation needs vectors of frames that a model does not keep."""
    if not settings.tau:
        return
    if model.network.objective == "answers":
        raise ValueError(
            f"evaluate.tau={settings.tau} compares texts with videos, and the backbone "
            f"{model.arch.backbone!r} answers questions; set it to 0"
        )
    require_frames(model.network, model.num_frames, f"evaluate.tau={settings.tau}")


def require_frames(network: Network, num_frames: int, setting: str) -> None:
    """Raise a ValueError if a setting needs vectors of frames that a network does not keep."""
    if problem := methods.find_frame_problem(network, num_frames):
        raise ValueError(f"{setting} compares texts with the frames of videos, but {problem}")


def load_trained(workdir: str | os.PathLike, *, dtype: Any = "float32") -> Model:
    """Open the model that was trained in a workdir; errors are those of `open_trained`."""
    return open_trained(workdir, dtype=dtype)[0]


def open_trained(
    workdir: str | os.PathLike, *, dtype: Any = "float32"
) -> tuple[Model, Config, Progress]:
    """Return the model trained in a workdir (its best checkpoint), its settings and progress.

    Raises:
        WeightsError: if there is no checkpoint yet.
        WorkdirError: if the settings or the checkpoint cannot be read.
    """
    from tempme_jax.training.checkpoint import restore_selected  # Orbax takes a second to import

    config = read_settings(workdir)
    model = build_model(dataclasses.replace(config.model, dtype=dtype), config.seed)
    model = set_pooling(model, config.train)
    trainable, frozen = split(model.network, model.params)
    if not trainable:
        return model, config, Progress()
    restored = restore_selected(workdir, trainable)
    if restored is None:
        raise WeightsError(f"{workdir} holds no checkpoint yet; train with it first")
    params, trained = join(restored[0], frozen), read_facts(workdir, restored[1].step)
    model = dataclasses.replace(model, params=params, drawn=Drawn(), trained=trained)
    return model, config, restored[1]


def read_settings(workdir: str | os.PathLike) -> Config:
    """Return the settings of the run in a workdir, checked.

    Raises:
        WorkdirError: if they cannot be read.
        PluginError: if the method is of a plugin that the user did not give, or that fails.
    """
    given = read_config(workdir)
    try:
        if not methods.is_known(given["model"]["method"]):
            load_recorded(check_type("plugins", given.get("plugins", []), list[str]), workdir)
        return build_config(given)
    except PluginError:
        raise
    except ValueError as error:
        raise WorkdirError(f"{os.fspath(workdir)}/{CONFIG} cannot be used: {error}") from error
