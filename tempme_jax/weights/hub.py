"""Find files of weights on disk or on the Hugging Face hub."""

import logging
import pathlib
import re
from collections.abc import Sequence
from importlib import resources

import huggingface_hub
from huggingface_hub import errors

from tempme_jax.checks import suggest
from tempme_jax.networks.architecture import ARCHITECTURES
from tempme_jax.weights.configs import (
    CONFIG_NAMES,
    PREPROCESSOR,
    PROCESSOR,
)
from tempme_jax.weights.saved import SHARDS, list_shards

log = logging.getLogger(__name__)

# Names for hints in errors; any other CLIP in one of the layouts loads as well.
BACKBONES = (
    "openai/clip-vit-base-patch32",
    "openai/clip-vit-base-patch16",
    "openai/clip-vit-large-patch14",
    "timm/vit_base_patch32_clip_224.openai",
    "timm/vit_base_patch16_clip_224.openai",
    "timm/vit_base_patch16_clip_224.metaclip_400m",
    "facebook/metaclip-b16-400m",
)
# Files that come with the package; `configs/tiny_clip.py` and `tiny_umt.py` say how they were made.
BUILT_IN = {
    "tiny-clip": resources.files("tempme_jax") / "datasets" / "tiny_clip.safetensors",
    "tiny-tempme": resources.files("tempme_jax") / "datasets" / "tiny_tempme.safetensors",
    "tiny-umt": resources.files("tempme_jax") / "datasets" / "tiny_umt.safetensors",
}
# Looked for in this order: model.safetensors in open_clip's repositories holds timm's arrays, which
# are only half of CLIP.
FILE_NAMES = ("open_clip_model.safetensors", "model.safetensors", f"model{SHARDS}")
FILE_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".json")
WITHOUT_WEIGHTS = "tempme_jax.create() makes a model with random weights"
# Errors for a repository that is not there, or whose name is not allowed.
REFUSALS = (errors.RepositoryNotFoundError, errors.HFValidationError)


def locate(source: str) -> tuple[pathlib.Path, list[pathlib.Path]]:
    """Return the weights file and the config files beside it, on disk or from the hub.

    Raises:
        FileNotFoundError: if there is no such file, folder or repository; it says what to do.
    """
    if source in BUILT_IN:
        return pathlib.Path(str(BUILT_IN[source])), []
    path = pathlib.Path(source).expanduser()
    if path.is_file():
        return path, find_configs(path)
    if path.is_dir():
        for name in FILE_NAMES:
            if (path / name).is_file():
                return locate(str(path / name))
        if (path / "adapter_config.json").exists():
            raise FileNotFoundError(
                f"the folder {path} holds a PEFT adapter and no whole model; merge it into its "
                "base model with PEFT (merge_and_unload) and save that"
            )
        if any(path.glob("*.bin.index.json")):
            raise FileNotFoundError(
                f"the folder {path} holds weights in several .bin files, which are not read as "
                "one; open and save them with transformers (save_pretrained), as safetensors"
            )
        raise FileNotFoundError(
            f"the folder {path} holds none of {', '.join(FILE_NAMES)}; give the path of another "
            ".safetensors file itself, or convert a .pt or .bin file with `tempme convert`"
        )
    if source in ARCHITECTURES:
        raise FileNotFoundError(
            f"{source!r} names sizes, not weights: give a file, a folder or a Hugging Face "
            f"repository, such as {BACKBONES[0]}, or a file that `tempme convert` made; "
            f"{WITHOUT_WEIGHTS}"
        )
    if re.fullmatch(r"[\w.-]+/[\w.-]+", source) and path.suffix not in FILE_SUFFIXES:
        return download(source)
    raise FileNotFoundError(
        f"{source!r} is not a file, a folder or the name of a Hugging Face repository"
        f"{suggest(source, (*BACKBONES, *BUILT_IN))}; `tempme convert` makes a .safetensors file "
        f"of a .pt, .pth or .bin file; {WITHOUT_WEIGHTS}"
    )


def find_configs(file: pathlib.Path) -> list[pathlib.Path]:
    """Return the config files beside a weights file."""
    return [file.with_name(name) for name in CONFIG_NAMES if file.with_name(name).exists()]


def download(repository: str) -> tuple[pathlib.Path, list[pathlib.Path]]:
    """Return the weights file and the config files of a repository, in the local cache."""
    hint = "" if repository in BACKBONES else suggest(repository, BACKBONES)
    try:
        names = [name for name in FILE_NAMES if not is_absent(repository, name)]
        file = find_first(repository, names or FILE_NAMES)  # it may have one by now
    except REFUSALS as error:
        raise FileNotFoundError(
            f"there is no file or folder {repository!r}, and no Hugging Face repository of that "
            f"name that you may read{hint}; {WITHOUT_WEIGHTS}"
        ) from error
    if file is None:
        raise FileNotFoundError(
            f"there is no file or folder {repository!r}, and {' or '.join(FILE_NAMES)} of the "
            f"Hugging Face repository of that name{hint} is not in the local cache and cannot be "
            "downloaded. Without a network, copy the file and load its path; if the repository "
            "holds only a .bin or .pt file, download and convert it with `tempme convert`; "
            f"{WITHOUT_WEIGHTS}"
        )
    if file.name.endswith(SHARDS):
        download_shards(repository, file)
    return file, download_configs(repository)


def download_shards(repository: str, index: pathlib.Path) -> None:
    """Download the shards that the index of a repository names, so they lie beside it.

    Raises:
        FileNotFoundError: if one is not there, or cannot be downloaded.
    """
    for shard in list_shards(index):
        if find_first(repository, [shard]) is None:
            raise FileNotFoundError(
                f"{index.name} of the Hugging Face repository {repository!r} names the file "
                f"{shard}, which is not there, or cannot be downloaded without a network"
            )


def download_configs(repository: str) -> list[pathlib.Path]:
    """Return the config files of a repository, in the local cache."""
    found, missing = find_all(repository, CONFIG_NAMES)
    if any(file.name == PREPROCESSOR for file in found):
        missing = [name for name in missing if name != PROCESSOR]
    if missing:
        log.warning(
            "%s of %s cannot be looked up without a network; what is not there is taken as CLIP's",
            ", ".join(missing), repository,
        )  # fmt: skip
    return found


def find_all(repository: str, names: Sequence[str]) -> tuple[list[pathlib.Path], list[str]]:
    """Return the files that are there, and the names that the hub cannot be asked about.

    Once the hub is out of reach, it is not asked again.
    """
    found, missing, reach = [], [], True
    for name in names:
        if is_absent(repository, name):
            continue
        cached = huggingface_hub.try_to_load_from_cache(repository, name)
        try:
            if isinstance(cached, str):
                found.append(pathlib.Path(cached))
            elif reach:
                found.append(pathlib.Path(huggingface_hub.hf_hub_download(repository, name)))
            else:
                missing.append(name)
        except errors.LocalEntryNotFoundError:
            reach = False
            missing.append(name)
        except errors.EntryNotFoundError:
            continue
    return found, missing


def is_absent(repository: str, name: str) -> bool:
    """Return whether the cache knows that the repository has no such file."""
    cached = huggingface_hub.try_to_load_from_cache(repository, name)
    return cached is not None and not isinstance(cached, str)


def find_first(repository: str, names: Sequence[str]) -> pathlib.Path | None:
    """Return the first of the files that is there; None if none is, or the hub is out of reach."""
    within_reach = True
    for name in names:
        # The cache first: without a network, the hub is tried for half a minute.
        cached = huggingface_hub.try_to_load_from_cache(repository, name)
        if isinstance(cached, str):
            return pathlib.Path(cached)
        if not within_reach:
            continue
        try:
            return pathlib.Path(huggingface_hub.hf_hub_download(repository, name))
        except errors.LocalEntryNotFoundError:
            within_reach = False
        except errors.EntryNotFoundError:
            continue
    return None
