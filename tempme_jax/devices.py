"""Devices and dtypes by the names that users of JAX give them."""

from typing import Any

import jax
import jax.numpy as jnp

from tempme_jax.checks import require_one_of

# A jax.Device, which type checkers take for a variable.
Device = Any
# The dtypes of activations, by name. A network without one computes in float32.
DTYPES: dict[str, Any] = {"float32": None, "bfloat16": jnp.bfloat16}


def find_device(device: str | Device) -> Device:
    """Return a device by its name: a platform, or a platform and a number, counted from 0.

    Raises:
        ValueError: if there is no such device; it names those that are there.
        TypeError: if it is something else.

    >>> find_device("cpu") == find_device("cpu:0") == jax.devices("cpu")[0]
    True
    """
    if isinstance(device, jax.Device):
        return device
    if not isinstance(device, str):
        raise TypeError(
            f'device must be a name such as "cpu" or "gpu:1", or a jax.Device, not '
            f"{type(device).__name__}"
        )
    platform, colon, number = device.partition(":")
    try:
        if not platform or bool(colon) != number.isdecimal():  # -1 would be the last one
            raise ValueError
        return jax.local_devices(backend=platform)[int(number or 0)]
    except (RuntimeError, IndexError, ValueError) as error:
        raise ValueError(
            f"there is no device {device!r} in this process; there are: {', '.join(list_devices())}"
        ) from error


def list_devices() -> list[str]:
    """Return the names of the devices of this process."""
    devices = jax.local_devices()
    if devices[0].platform != "cpu":
        devices += jax.local_devices(backend="cpu")
    counts: dict[str, int] = {}
    for device in devices:
        counts[device.platform] = counts.get(device.platform, 0) + 1
    return [f"{platform}:{i}" for platform, count in counts.items() for i in range(count)]


def find_dtype(dtype: Any) -> Any:
    """Return the dtype of the activations of a network, by its name or as JAX writes it.

    Raises:
        ValueError: if networks do not compute in it.

    >>> find_dtype("bfloat16") is find_dtype(jnp.bfloat16) is jnp.bfloat16
    True
    """
    name = dtype
    if not isinstance(dtype, str):
        try:
            name = jnp.dtype(dtype).name
        except TypeError:
            name = str(dtype)
    return DTYPES[require_one_of(name, DTYPES, "dtype")]
