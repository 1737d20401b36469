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
    adapter: str | os.PathLike | None = None,
    dtype: Any = "float32",
    device: Any = None,
    seed: int = 0,
) -> "Model":
    """Open pretrained or trained weights.

    Args:
        source: a Hugging Face repository ("openai/clip-vit-base-patch32"), a folder or a
            `.safetensors` file with the arrays of OpenAI, open_clip, transformers, the published
            TempMe code, UMT or tempme_jax; "tiny-clip", "tiny-umt" or "tiny-tempme", which come
            with the package; the workdir of a training, which opens with its best checkpoint and
            takes no other argument than `dtype` and `device`; an adapter that `save_adapter` or
            `push_to_hub` wrote, with the base model that it names; or "clip.onnx" for the two files
            of a model that `tempme export` wrote, which run in ONNX Runtime, without JAX.
        method: a name of `METHODS`; the default is the file's, or else "tempme".
        num_frames: frames of every video; the default is the file's, or else 12.
        max_words: ids of every text; the default is the file's, or else 32.
        method_options: fields of the method's adapter and reducer, in place of the paper's.
        activation: "quick_gelu" or "gelu", if the file does not say.
        backbone: name of the network, such as "umt-qa" to open a file of UMT's pre-training for
            question answering; the default is the file's.
        adapter: what `save_adapter` or `push_to_hub` wrote, a file or a repository, to open with
            the weights of `source`. It has its own method and settings.
        dtype: dtype of the activations, "float32" or "bfloat16". Vectors are float32.
        device: where the model lies and computes, such as "cpu" or "gpu:1", or a `jax.Device`;
            default: where JAX computes by default.
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
    settings |= dict(method_options=method_options, backbone=backbone)
    more = dict(activation=activation, adapter=adapter)
    if os.fspath(source).endswith(".onnx"):
        from tempme_jax.export.runtime import OnnxModel

        refuse_settings(settings | more | {"device": device}, f"{source} is an exported model")
        return cast(Any, OnnxModel(source))  # has the methods of a Model, if not its arrays
    if device is not None:  # before weights are read for nothing
        from tempme_jax.devices import find_device

        device = find_device(device)
    if is_workdir(source):
        refuse_settings(
            settings | more, f"{source} is the workdir of a training", ("dtype", "device")
        )
        from tempme_jax.training.model import load_trained

        model = load_trained(source, dtype=dtype)
    else:
        model = open_source(source, settings, adapter, activation, dtype, seed)
    return model if device is None else model.to(device)


def open_source(
    source: str | os.PathLike,
    settings: dict[str, Any],
    adapter: str | os.PathLike | None,
    activation: str | None,
    dtype: Any,
    seed: int,
) -> "Model":
    """Open weights, an adapter, or both together. The arguments are those of `load`."""
    from tempme_jax.building import open_adapter, open_weights
    from tempme_jax.weights.errors import OnlyAdapterError

    allowed = ("activation", "dtype", "device")
    if adapter is not None:
        refuse_settings(settings, f"the adapter {os.fspath(adapter)} is a trained one", allowed)
        return open_adapter(adapter, source, activation=activation, dtype=dtype)
    try:
        return open_weights(source, **settings, activation=activation, dtype=dtype, seed=seed)
    except OnlyAdapterError:
        refuse_settings(settings, f"{source} is an adapter", allowed)
        return open_adapter(source, activation=activation, dtype=dtype)


def refuse_settings(settings: dict[str, Any], what: str, allowed: tuple[str, ...] = ()) -> None:
    """Raise a ValueError if settings are given for what has its own."""
    given = [name for name, value in settings.items() if value is not None]
    if given:
        only = f"only {', '.join(allowed)} may be given" if allowed else "give none"
        raise ValueError(
            f"{what}, which has its own method and settings: {only}, not {', '.join(given)}"
        )


def is_workdir(source: str | os.PathLike) -> bool:
    """Return whether a source is the workdir of a training."""
    if not os.path.isdir(source):  # before an import that takes long
        return False
    from tempme_jax.training import workdir

    return workdir.is_workdir(source)
