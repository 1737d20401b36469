"""What a name, a file or a workdir opens as."""

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
    """Opens pretrained or trained weights.

    Args:
        source: a Hugging Face repository ("openai/clip-vit-base-patch32"), a folder or a
            `.safetensors` file, of OpenAI, open_clip, transformers, the published TempMe code or
            of ours. Ours know their method and settings; they are used where none are given.
            "tiny-clip" and, trained on the built-in set, "tiny-tempme" come with the package. The
            workdir of a training opens as it was trained, with the best checkpoint; of what is
            below only `dtype` can be given then.
        method: a name of `METHODS`; "tempme" where the file does not say.
        num_frames: frames of every video; 12 where the file does not say.
        max_words: ids of every text; 32 where the file does not say.
        method_options: settings of the method in place of the paper's for this backbone and this
            number of frames: fields of its adapter and its reducer.
        activation: "quick_gelu" or "gelu", where the file does not say it.
        dtype: of the activations, "float32" or "bfloat16".
        seed: of what the method learns and the file does not hold.

    Raises:
        FileNotFoundError: if there is no such file, folder or repository.
        WeightsError: if the arrays are not those of the model; it lists them.
        ValueError: if a name is unknown, or options do not fit; it says what does.
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
            f"{source} is the workdir of a training, whose method and settings are known; give "
            "none but dtype, or load the weights that it began with"
        )
    return load_trained(source, dtype=dtype)
