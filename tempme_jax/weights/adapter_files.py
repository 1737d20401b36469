"""Files of adapters: what a method learned, without the backbone that it was learned with.

Such a file is a safetensors file. Its metadata says which backbone it needs, by a hash of the
arrays, and describes the model: method, options, preprocessing, and what its training measured.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
from typing import Any, NotRequired, TypedDict

import numpy as np
import safetensors

from tempme_jax.adapters.base import Path
from tempme_jax.fields import FieldError, parse_fields
from tempme_jax.networks.architecture import Architecture
from tempme_jax.text.from_json import hash_vocabulary
from tempme_jax.version import __version__
from tempme_jax.weights.errors import WeightsError, shorten
from tempme_jax.weights.files import write_safetensors
from tempme_jax.weights.hub import BUILT_IN, is_repository, locate
from tempme_jax.weights.layouts import refuse_not_finite, write_layout
from tempme_jax.weights.saved import ADAPTER, SavedSettings, require_method

# Digits of a digest in messages.
SHOWN = 12


class SavedBase(TypedDict):
    """The backbone that an adapter needs: its name for people, and a hash of its arrays."""

    name: str
    digest: str
    vocabulary: NotRequired[str]  # hash of a tokenizer that lies with the weights


class SavedAdapter(TypedDict):
    """What the metadata of a file of an adapter says."""

    base: SavedBase
    architecture: dict[str, Any]
    settings: SavedSettings
    preprocessing: NotRequired[dict[str, Any]]
    learned: NotRequired[str]  # hash of what was learned
    version: NotRequired[str]


class WrongBaseError(WeightsError):
    """An adapter is opened with another backbone than the one that it was made with."""


@dataclasses.dataclass(frozen=True)
class AdapterFile:
    """The contents of a file of an adapter.

    Attributes:
        source: what the user named.
        about: its metadata.
        params: what was learned, float32 by path.
    """

    source: str
    about: SavedAdapter
    params: dict[Path, np.ndarray]

    @property
    def base(self) -> str:
        """The name of its backbone, for people."""
        return self.about["base"]["name"]

    @property
    def origin(self) -> str:
        """Which adapter it is and what it was made with, in words."""
        return f"the adapter {self.source} was made with {self.base or 'weights without a name'}"

    def require_findable_base(self) -> str:
        """Return the name of its backbone if that can be opened by its name.

        Raises:
            WeightsError: if it was a file, which lies elsewhere by now.
        """
        if self.base in BUILT_IN or is_repository(self.base):
            return self.base
        named = f"the weights {self.base!r}" if self.base else "weights without a name"
        raise WeightsError(
            f"{self.source} holds an adapter alone, without its base model: {named}. Name their "
            f"place: tempme_jax.load(BASE, adapter={self.source!r})"
        )

    def require_architecture(self, arch: Architecture, name: str) -> None:
        """Raise a WrongBaseError unless the adapter was made for a backbone of such sizes.

        `name` is what the user called the backbone.
        """
        needed = self.about["architecture"]
        given = json.loads(json.dumps(dataclasses.asdict(arch)))
        other = [
            f"{key} {needed[key]} in place of {given[key]}"
            for key in needed.keys() & given.keys()
            if needed[key] != given[key]
        ]
        if other:
            raise WrongBaseError(f"{self.origin} and does not fit {name}: {shorten(other)}")

    def require_weights(self, frozen: dict[Path, np.ndarray], name: str, vocabulary: str) -> None:
        """Raise a WrongBaseError unless the adapter was made with such weights of a backbone.

        `frozen` holds those that the adapter's method does not train; `vocabulary` is that of
        `Weights`.
        """
        words = self.about["base"].get("vocabulary")
        if words and hash_vocabulary(vocabulary) != words:
            raise WrongBaseError(
                f"{self.origin}, and {name} has another tokenizer.json, which makes other ids of "
                "texts; put that of the model beside its weights"
            )
        needed, given = self.about["base"]["digest"], hash_arrays(frozen)
        if given != needed:
            raise WrongBaseError(
                f"{self.origin}, and {name} holds other weights of the same sizes: their "
                f"hash is {given[:SHOWN]}, and should be {needed[:SHOWN]}. With them its vectors "
                "would mean nothing"
            )


def save_adapter_file(
    file: str | os.PathLike,
    params: dict[Path, np.ndarray],
    frozen: dict[Path, np.ndarray],
    arch: Architecture,
    *,
    base: str,
    settings: dict[str, Any],
    vocabulary: str = "",
) -> None:
    """Write what was learned to a safetensors file, whole or not at all.

    Args:
        file: path of the file, ending in .safetensors; a file there is replaced.
        params: what was learned, by path.
        frozen: the parameters of the backbone, which are only hashed.
        arch: the sizes of the backbone.
        base: name of the backbone.
        settings, vocabulary: see `Weights`.
    """
    of_arch = dataclasses.asdict(arch)
    preprocessing = {name: of_arch[name] for name in ("image_size", "resize", "mean", "std")}
    preprocessing |= {"frames": settings["num_frames"], "words": settings["max_words"]}
    needed: SavedBase = {"name": base, "digest": hash_arrays(frozen)}
    if vocabulary:
        needed["vocabulary"] = hash_vocabulary(vocabulary)
    about = {
        "base": needed,
        "architecture": of_arch,
        "settings": settings,
        "preprocessing": preprocessing | {"tokenizer": arch.tokenizer},
        "learned": hash_arrays(params),
        "version": __version__,
    }
    write_safetensors(file, write_layout("tempme_jax", params), {ADAPTER: json.dumps(about)})


def read_adapter_file(source: str | os.PathLike) -> AdapterFile:
    """Read the adapter in a file, a folder or a Hugging Face repository.

    Raises:
        FileNotFoundError: if there is no such file, folder or repository.
        WeightsError: if it holds no adapter of tempme_jax, or is damaged.
    """
    file, _ = locate(str(source))
    problem = f"{file} is not a readable adapter"
    try:
        with safetensors.safe_open(file, "numpy") as opened:
            metadata = opened.metadata() or {}
            if ADAPTER not in metadata:
                raise WeightsError(
                    f"{source} holds no adapter of tempme_jax, which model.save_adapter writes; a "
                    "whole model opens with tempme_jax.load(FILE) alone"
                )
            about: SavedAdapter = parse_fields(metadata[ADAPTER], SavedAdapter, "its metadata")
            require_method(about["settings"])
            arrays = {name: opened.get_tensor(name) for name in opened.keys()}
    except (safetensors.SafetensorError, FieldError, AttributeError, TypeError) as error:
        raise WeightsError(f"{problem}: {error}") from error
    params = {tuple(name.split("/")): array for name, array in arrays.items()}
    if other := [name for name, array in arrays.items() if array.dtype != np.float32]:
        raise WeightsError(f"{problem}: not of float32: {shorten(other)}")
    try:
        refuse_not_finite(params, {})
    except WeightsError as error:
        raise WeightsError(f"{problem}: {error}") from error
    if about.get("learned") not in (None, hash_arrays(params)):
        raise WeightsError(f"{problem}: it has changed since it was written; get it again")
    return AdapterFile(str(source), about, params)


def locate_files(source: str | os.PathLike) -> list[pathlib.Path]:
    """Return the files that a model is read from, the one with the backbone's arrays first.

    Raises:
        FileNotFoundError: if there is no such file, folder or repository.
        WeightsError, SafetensorError: if they cannot be read.
    """
    file, configs = locate(str(source))
    files = [file, *configs]
    if file.suffix == ".safetensors":
        with safetensors.safe_open(file, "numpy") as opened:
            is_adapter = ADAPTER in (opened.metadata() or {})
        if is_adapter:
            files = locate_files(read_adapter_file(source).require_findable_base()) + files
    return files


def hash_arrays(params: dict[Path, np.ndarray]) -> str:
    """Hash parameters with their paths and shapes; return 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for path in sorted(params):
        array = np.ascontiguousarray(params[path], np.float32)
        digest.update(f"{'/'.join(path)} {array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()


def name_base(source: str | os.PathLike) -> str:
    """Return what others may call a backbone: a repository, or the name of a file without its path.

    >>> name_base("openai/clip-vit-base-patch32"), name_base("/home/me/clip.safetensors")
    ('openai/clip-vit-base-patch32', 'clip.safetensors')
    """
    name, path = str(source), pathlib.Path(source).expanduser()
    is_name = name in BUILT_IN or (is_repository(name) and not path.exists())
    return name if is_name else path.name
