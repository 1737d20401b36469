"""The persistent compilation cache: programs compiled once are read from disk the next time."""

import os
import pathlib
from typing import Any

# Programs that took fewer seconds to compile are not kept: there are hundreds of small ones.
LEAST_SECONDS = 0.1
OFF = ("0", "false", "off", "no")


def find_home_folder() -> pathlib.Path:
    """Return the folder of everything that tempme_jax keeps in the user's cache."""
    home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(home) / "tempme_jax"


def is_caching_allowed() -> bool:
    """Return whether programs may be kept, unless JAX_ENABLE_COMPILATION_CACHE says no."""
    return os.environ.get("JAX_ENABLE_COMPILATION_CACHE", "1").lower() not in OFF


def find_cache_folder() -> pathlib.Path:
    """Return the folder of compiled programs: by JAX's own setting, else in the user's cache."""
    if folder := _read_setting("jax_compilation_cache_dir"):
        return pathlib.Path(folder)
    return find_home_folder() / "compiled"


def use_persistent_cache() -> None:
    """Switch the cache on, unless JAX_ENABLE_COMPILATION_CACHE=0 or JAX's own is already set.

    Without a home folder that can be written to, the cache stays off.
    """
    import jax

    enabled = _read_setting("jax_enable_compilation_cache")
    if _read_setting("jax_compilation_cache_dir") or not enabled:
        return
    try:
        folder = find_cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # Path.home() raises RuntimeError
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", LEAST_SECONDS)


def _read_setting(name: str) -> Any:
    import jax  # which takes long to import

    return getattr(jax.config, name)  # JAX adds its settings when it is imported
