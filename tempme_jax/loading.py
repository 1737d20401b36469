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
    dtype: str = "float32",
    seed: int = 0,
) -> Model:
    """Open pretrained or trained weights.

    Args:
        source: a Hugging Face repository ("openai/clip-vit-base-patch32"), a folder or a
            `.safetensors` file with the arrays of OpenAI, open_clip, transformers, the published
            TempMe code or tempme_jax; or "tiny-clip" or "tiny-tempme" (trained on the built-in
            set), which come with the package. A file that tempme_jax saved knows its method and
            settings; they hold unless others are given. The workdir of a training opens as it was
            trained, with the best checkpoint; then only `dtype` can be given.
        method: a name of `METHODS`; the default is the file's, or else "tempme".
        num_frames: frames of every video; the default is the file's, or else 12.
        max_words: ids of every text; the default is the file's, or else 32.
        method_options: fields of the method's adapter and reducer, in place of the paper's
            settings for this backbone and this number of frames.
        activation: "quick_gelu" or "gelu", if the file does not say.
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
    settings = {
        "method": method,
        "num_frames": num_frames,
        "max_words": max_words,
        "method_options": method_options,
        "activation": activation,
    }
    if not is_workdir(source):
        return open_weights(source, **settings, dtype=dtype, seed=seed)
    if any(value is not None for value in settings.values()):
        raise ValueError(
            f"{source} is the workdir of a training, which has its own method and settings; give "
            "only dtype, or load the weights that it began with"
        )
    return load_trained(source, dtype=dtype)
