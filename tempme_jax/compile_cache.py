"""The persistent compilation cache: what was compiled once is read from disk the next time."""

import os
import pathlib

import jax


def cache_folder() -> pathlib.Path:
    """Where compiled programs are kept: JAX's own setting, else the user's cache folder."""
    if jax.config.jax_compilation_cache_dir:
        return pathlib.Path(jax.config.jax_compilation_cache_dir)
    home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(home) / "tempme_jax" / "compiled"


def use_persistent_cache() -> None:
    """Switches the cache on, unless JAX_ENABLE_COMPILATION_CACHE=0 or JAX's own is set already.

    Where there is no home, or none that can be written to, it stays off.
    """
    if jax.config.jax_compilation_cache_dir or not jax.config.jax_enable_compilation_cache:
        return
    try:
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: of Path.home()
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
