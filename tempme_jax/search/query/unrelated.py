"""256 short sentences about all sorts of things, which most indexes show nothing of.

Searched in an index, they tell how well a sentence scores there that matches nothing.
"""

import importlib.resources


def read_texts() -> list[str]:
    """Return the sentences, each of which occurs once."""
    file = importlib.resources.files("tempme_jax.search.query") / "unrelated.txt"
    return file.read_text(encoding="utf-8").splitlines()
