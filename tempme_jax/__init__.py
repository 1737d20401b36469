"""Efficient text-video retrieval: CLIP with adapters and temporal token merging, in JAX.

    model = tempme_jax.load("openai/clip-vit-base-patch32", method="tempme", num_frames=12)
    model.similarity(model.embed_text("a cat jumps"), model.embed_video("cat.mp4"))

The public names are imported when they are first used, so `import tempme_jax` costs nothing.
"""

import importlib

from tempme_jax.version import __version__

_HOMES = {
    "METHODS": "tempme_jax.methods",
    "Architecture": "tempme_jax.networks.architecture",
    "Model": "tempme_jax.model",
    "VideoError": "tempme_jax.video.frames",
    "VideoIndex": "tempme_jax.search.index",
    "VideoIndexError": "tempme_jax.search.errors",
    "WeightsError": "tempme_jax.weights.errors",
    "create": "tempme_jax.building",
    "load": "tempme_jax.loading",
    "load_plugin": "tempme_jax.plugins",
}
_MODULES = {"merging": "tempme_jax.reducers.merging"}

# The names stand once, in the tables above.
__all__ = ["__version__", *_HOMES, *_MODULES]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str):
    if name in _HOMES:
        return getattr(_import_module(_HOMES[name]), name)
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    raise AttributeError(f"module 'tempme_jax' has no attribute {name!r}")


def _import_module(name: str):
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        from tempme_jax.extras import explain_missing

        if missing := explain_missing(error):
            raise ModuleNotFoundError(missing, name=error.name) from error
        raise


def __dir__() -> list[str]:
    return sorted(__all__)
