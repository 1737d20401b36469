"""Open a model by the name of a repository, or from a file or a workdir."""

import os
from typing import Any

from tempme_jax.building import open_weights
from tempme_jax.model import Model
from tempme_jax.training.model import load_trained
from tempme_jax.training.workdir import is_workdir


def load(
    source: str | os.PathLike,
    *,
    method: str | None = None,
    num_frames: int | None = None,
    max_words: int | None = None,
    method_options: dict[str, Any] | None = None,
    activation: str | None = None,
    backbone: str | None = None,
    dtype: str = "float32",
    seed: int = 0,
) -> Model:
    """Open pretrained or trained weights.

    Args:
        source: a Hugging Face repository ("openai/clip-vit-base-patch32"), a folder or a
            `.safetensors` file with the arrays of OpenAI, open_clip, transformers, the published
            TempMe code, UMT or tempme_jax; "tiny-clip", "tiny-umt" or "tiny-tempme", which come
            with the package; or the workdir of a training, which opens with its best checkpoint and
            takes no other argument than `dtype`.
        method: a name of `METHODS`; the default is the file's, or else "tempme".
        num_frames: frames of every video; the default is the file's, or else 12.
        max_words: ids of every text; the default is the file's, or else 32.
        method_options: fields of the method's adapter and reducer, in place of the paper's.
        activation: "quick_gelu" or "gelu", if the file does not say.
        backbone: name of the network, such as "umt-qa" to open a file of UMT's pre-training for
            question answering; the default is the file's.
        dtype: dtype of the activations, "float32" or "bfloat16".
        seed: seed of the learned parameters that the file does not hold.

    Raises:
        FileNotFoundError: if there is no such file, folder or repository.
        WeightsError: if the arrays are not those of the model; it lists them.
        ValueError: if a name is unknown, or options do not fit; it says what does.

    >>> model = load("tiny-clip", method="tempme", num_frames=4)
    >>> model.method, model.num_frames, model.arch.image_size
    ('tempme', 4, 64)
    """
    settings: dict[str, Any] = dict(method=method, num_frames=num_frames, max_words=max_words)
    settings |= dict(method_options=method_options, activation=activation, backbone=backbone)
    if not is_workdir(source):
        return open_weights(source, **settings, dtype=dtype, seed=seed)
    if any(value is not None for value in settings.values()):
        why = "is the workdir of a training, which has its own method and settings; give only dtype"
        raise ValueError(f"{source} {why}, or load the weights that it began with")
    return load_trained(source, dtype=dtype)
