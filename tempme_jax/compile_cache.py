"""The persistent compilation cache: programs compiled once are read from disk the next time."""

import os
import pathlib
from typing import Any

import jax


def find_cache_folder() -> pathlib.Path:
    """Return the folder of compiled programs: by JAX's own setting, else in the user's cache."""
    if folder := _read_setting("jax_compilation_cache_dir"):
        return pathlib.Path(folder)
    home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(home) / "tempme_jax" / "compiled"


def use_persistent_cache() -> None:
    """Switch the cache on, unless JAX_ENABLE_COMPILATION_CACHE=0 or JAX's own is already set.

    Without a home folder that can be written to, the cache stays off.
    """
    enabled = _read_setting("jax_enable_compilation_cache")
    if _read_setting("jax_compilation_cache_dir") or not enabled:
        return
    try:
        folder = find_cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # Path.home() raises RuntimeError
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))


def _read_setting(name: str) -> Any:
    return getattr(jax.config, name)  # JAX adds its settings when it is imported
