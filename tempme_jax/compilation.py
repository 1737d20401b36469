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
    """Switches the cache on, unless JAX_ENABLE_COMPILATION_CACHE=0 or JAX's own is set already."""
    if jax.config.jax_compilation_cache_dir is None and jax.config.jax_enable_compilation_cache:
        jax.config.update("jax_compilation_cache_dir", str(cache_folder()))
