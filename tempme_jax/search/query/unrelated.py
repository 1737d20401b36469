"""Short texts about anything and everything: most of them have nothing to do with an index.

What they reach in an index tells which scores mean something there.
"""

import importlib.resources


def texts() -> list[str]:
    """The texts, 256 of them, each once."""
    file = importlib.resources.files("tempme_jax.search.query") / "unrelated.txt"
    return file.read_text(encoding="utf-8").splitlines()
