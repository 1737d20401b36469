"""Open a model by the name of a repository, or from a file or a workdir."""

import os
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:  # it imports JAX, which takes long
    from tempme_jax.model import Model


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
) -> "Model":
    """Open pretrained or trained weights.

    Args:
        source: a Hugging Face repository ("openai/clip-vit-base-patch32"), a folder or a
            `.safetensors` file with the arrays of OpenAI, open_clip, transformers, the published
            TempMe code, UMT or tempme_jax; "tiny-clip", "tiny-umt" or "tiny-tempme", which come
            with the package; the workdir of a training, which opens with its best checkpoint and
            takes no other argument than `dtype`; or "clip.onnx" for the two files of a model that
            `tempme export` wrote, which run in ONNX Runtime, without JAX.
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
    if os.fspath(source).endswith(".onnx"):
        from tempme_jax.export.runtime import OnnxModel

        if any(value is not None for value in settings.values()):
            raise ValueError(f"{source} is an exported model, whose settings are fixed; give none")
        return cast(Any, OnnxModel(source))  # has the methods of a Model, if not its arrays
    if not is_workdir(source):
        from tempme_jax.building import open_weights

        return open_weights(source, **settings, dtype=dtype, seed=seed)
    if any(value is not None for value in settings.values()):
        why = "is the workdir of a training, which has its own method and settings; give only dtype"
        raise ValueError(f"{source} {why}, or load the weights that it began with")
    from tempme_jax.training.model import load_trained

    return load_trained(source, dtype=dtype)


def is_workdir(source: str | os.PathLike) -> bool:
    """Return whether a source is the workdir of a training."""
    if not os.path.isdir(source):  # before an import that takes long
        return False
    from tempme_jax.training import workdir

    return workdir.is_workdir(source)
