"""Read captions from a Python pickle without running anything that it holds."""

import pathlib
import pickle
from typing import Any

from tempme_jax.datasets.annotations import Annotation, make_error

# A pickle of plain values that is damaged, or not one.
FAULTS = (
    pickle.UnpicklingError, EOFError, AttributeError, ImportError, LookupError, TypeError,
    ValueError, OverflowError, MemoryError,
)  # fmt: skip


class PlainUnpickler(pickle.Unpickler):
    """Reads numbers, texts, lists and dictionaries; whatever needs code is refused."""

    def find_class(self, module: str, name: str) -> Any:
        """Refuse a class or function."""
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is code and is not run")


def read_pickle(file: pathlib.Path) -> Any:
    """Return the plain values in a pickle, also of Python 2.

    Raises:
        AnnotationError: it cannot be read, or holds anything else.
    """
    try:
        with file.open("rb") as opened:
            return PlainUnpickler(opened, encoding="utf-8").load()
    except OSError as error:
        raise make_error(file, f"cannot be read ({error.strerror})") from error
    except FAULTS as error:
        raise make_error(
            file, f"is not a pickle of captions ({error})", "", "get it again from where it comes"
        ) from error


def read_pickled_captions(file: pathlib.Path) -> dict[str, list[str]]:
    """Return captions by video, from a pickle of lists of texts or of lists of words.

    Raises:
        AnnotationError: it cannot be read, or holds anything else.
    """
    content = read_pickle(file)
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise make_error(file, "must hold a dictionary of captions by the names of videos")
    return {key: [join_words(file, key, one) for one in check_list(file, key, content[key])]
            for key in content}  # fmt: skip


def check_list(file: pathlib.Path, key: str, captions: Any) -> list[Any]:
    """Return the captions of a video if they are a list."""
    if not isinstance(captions, list | tuple):
        raise make_error(file, f"must hold a list, not {captions!r:.60}", repr(key))
    return list(captions)


def join_words(file: pathlib.Path, key: str, caption: Any) -> str:
    """Return a caption that is a text, or a list of words."""
    if isinstance(caption, list | tuple) and all(isinstance(word, str) for word in caption):
        caption = " ".join(caption)
    return Annotation(file, repr(key), {"a caption": caption}).get_text("a caption")
