"""Find files of weights on disk or on the Hugging Face Hub."""

import logging
import pathlib
from importlib import resources

from huggingface_hub import errors
from huggingface_hub.utils import validate_repo_id

from tempme_jax.checks import suggest
from tempme_jax.compile_cache import find_home_folder
from tempme_jax.networks.architecture import ARCHITECTURES
from tempme_jax.weights.configs import (
    CONFIG_NAMES,
    PREPROCESSOR,
    PROCESSOR,
)
from tempme_jax.weights.repository import (
    HubUnreachableError,
    fetch,
    fetch_first,
    find_cached,
    find_cached_weights,
    is_absent,
)
from tempme_jax.weights.saved import SHARDS, list_shards
from tempme_jax.weights.unreachable import TWINS, OutOfReachError

log = logging.getLogger(__name__)

# Names for hints in errors; any other CLIP in one of the layouts loads as well.
BACKBONES = (
    "openai/clip-vit-base-patch32",
    "openai/clip-vit-base-patch16",
    "openai/clip-vit-large-patch14",
    "openai/clip-vit-large-patch14-336",
    "timm/vit_base_patch32_clip_224.openai",
    "timm/vit_base_patch16_clip_224.openai",
    "timm/vit_base_patch16_clip_224.metaclip_400m",
    "facebook/metaclip-b16-400m",
    "facebook/metaclip-l14-fullcc2.5b",
    "facebook/metaclip-h14-fullcc2.5b",
    "laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
    "laion/CLIP-ViT-B-16-laion2B-s34B-b88K",
    "laion/CLIP-ViT-L-14-laion2B-s32B-b82K",
    "laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
    "laion/CLIP-ViT-g-14-laion2B-s12B-b42K",
    "laion/CLIP-ViT-g-14-laion2B-s34B-b88K",
    "laion/CLIP-ViT-bigG-14-laion2B-39B-b160k",
    "laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K",
    "laion/CLIP-ViT-B-32-256x256-DataComp-s34B-b86K",
    "laion/CLIP-ViT-B-16-DataComp.XL-s13B-b90K",
    "laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K",
    "apple/DFN2B-CLIP-ViT-B-16",
    "apple/DFN2B-CLIP-ViT-L-14",
    "apple/DFN5B-CLIP-ViT-H-14",
    "apple/DFN5B-CLIP-ViT-H-14-378",
    "google/siglip2-base-patch16-224",
    "google/siglip2-base-patch32-256",
    "google/siglip2-large-patch16-256",
    "google/siglip2-so400m-patch14-384",
)
# Files that come with the package; `configs/tiny_clip.py` and `tiny_umt.py` say how they were made.
BUILT_IN = {
    "tiny-clip": resources.files("tempme_jax") / "datasets" / "tiny_clip.safetensors",
    "tiny-tempme": resources.files("tempme_jax") / "datasets" / "tiny_tempme.safetensors",
    "tiny-umt": resources.files("tempme_jax") / "datasets" / "tiny_umt.safetensors",
}
# Looked for in this order: model.safetensors in open_clip's repositories holds timm's arrays, which
# are only half of CLIP.
# The last one holds an adapter alone, see `adapter_files`.
ADAPTER_NAME = "tempme_adapter.safetensors"
FILE_NAMES = (
    "open_clip_model.safetensors",
    "model.safetensors",
    f"model{SHARDS}",
    ADAPTER_NAME,
)
FILE_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".json")
WITHOUT_WEIGHTS = "tempme_jax.create() makes a model with random weights"
# Errors for a repository that is not there, or whose name is not allowed.
REFUSALS = (errors.RepositoryNotFoundError, errors.HFValidationError)


def locate(source: str) -> tuple[pathlib.Path, list[pathlib.Path]]:
    """Return the weights file and the config files beside it, on disk or from the Hub.

    Raises:
        FileNotFoundError: if there is no such file, folder or repository; it says what to do. An
            OutOfReachError if the Hub would have to be asked and cannot be.
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
    if is_repository(source):
        return download(source)
    raise FileNotFoundError(
        f"{source!r} is not a file, a folder or the name of a Hugging Face repository"
        f"{suggest(source, (*BACKBONES, *BUILT_IN))}; `tempme convert` makes a .safetensors file "
        f"of a .pt, .pth or .bin file; {WITHOUT_WEIGHTS}"
    )


def is_repository(source: str) -> bool:
    """Return whether a source has the form of a repository's name."""
    if pathlib.Path(source).suffix in FILE_SUFFIXES or source.count("/") != 1:
        return False
    try:
        validate_repo_id(source)
    except errors.HFValidationError:
        return False
    return True


def find_configs(file: pathlib.Path) -> list[pathlib.Path]:
    """Return the config files beside a weights file."""
    return [file.with_name(name) for name in CONFIG_NAMES if file.with_name(name).exists()]


def find_kept_folder(repository: str) -> pathlib.Path | None:
    """Return where `tempme download --from`, or a person, puts the weights of a repository.

    It is None if the user has no home folder.
    """
    try:
        return find_home_folder() / "weights" / repository
    except RuntimeError:
        return None


def find_kept(repository: str) -> pathlib.Path | None:
    """Return the weights file that was put in the folder of a repository; None without one."""
    folder = find_kept_folder(repository)
    files = [folder / name for name in FILE_NAMES] if folder else []
    return next((file for file in files if file.is_file()), None)


def list_kept() -> dict[str, pathlib.Path]:
    """Return the folders of all repositories whose weights were put on this machine by hand."""
    home = find_kept_folder("")
    places = sorted(home.glob("*/*")) if home else []
    named = {f"{place.parent.name}/{place.name}": place for place in places if place.is_dir()}
    return {name: place for name, place in named.items() if find_kept(name)}


def list_names(repository: str) -> tuple[str, ...]:
    """Return a repository's name and those of others with the same arrays."""
    rows = ((name, twin) for name, (twin, _) in TWINS.items())
    same = next((row for row in rows if repository in row), ())
    return (repository, *(name for name in same if name != repository))


def is_of_openai(source: str) -> bool:
    """Return whether a source is the name of a repository with OpenAI's weights."""
    return len(list_names(source)) > 1


def download(repository: str) -> tuple[pathlib.Path, list[pathlib.Path]]:
    """Return the weights file and the config files of a repository, in the local cache.

    The cache is asked for all names that the model has before the Hub is.
    """
    names = list_names(repository)
    for name in names:
        if file := find_kept(name):
            return file, find_configs(file)
    for name in names:
        if file := find_cached_weights(name, FILE_NAMES):
            return complete(name, file)
    return ask_hub(repository)


def ask_hub(repository: str) -> tuple[pathlib.Path, list[pathlib.Path]]:
    """Download the weights file and the config files of a repository."""
    hint = "" if repository in BACKBONES else suggest(repository, BACKBONES)
    try:
        for name in list_names(repository):
            likely = [each for each in FILE_NAMES if not is_absent(name, each)]
            if file := fetch_first(name, likely or FILE_NAMES):  # it may have one by now
                return complete(name, file)
    except HubUnreachableError as error:
        place = find_kept_folder(repository)
        raise OutOfReachError(repository, str(error), place, hint) from error
    except REFUSALS as error:
        raise FileNotFoundError(
            f"there is no file or folder {repository!r}, and no Hugging Face repository of that "
            f"name that you may read{hint}; {WITHOUT_WEIGHTS}"
        ) from error
    raise FileNotFoundError(
        f"there is no file or folder {repository!r}, and the Hugging Face repository of that name"
        f"{hint} has none of {', '.join(FILE_NAMES)}; if it holds a .bin file, "
        f"`tempme download {repository}` fetches and converts it; {WITHOUT_WEIGHTS}"
    )


def complete(repository: str, file: pathlib.Path) -> tuple[pathlib.Path, list[pathlib.Path]]:
    """Return a weights file of a repository and its config files, once its shards are there."""
    if file.name.endswith(SHARDS):
        download_shards(repository, file)
    return file, download_configs(repository, file)


def download_shards(repository: str, index: pathlib.Path) -> None:
    """Download the shards that the index of a repository names, so they lie beside it.

    Raises:
        FileNotFoundError: if one is not there, or cannot be downloaded.
    """
    for shard in list_shards(index):
        if index.with_name(shard).is_file():
            continue
        try:
            fetch(repository, shard)
        except (HubUnreachableError, errors.EntryNotFoundError) as error:
            raise FileNotFoundError(
                f"{index.name} of the Hugging Face repository {repository!r} names the file "
                f"{shard}, which is not there, or cannot be downloaded without a network"
            ) from error


def download_configs(repository: str, file: pathlib.Path) -> list[pathlib.Path]:
    """Return the config files of a repository: those beside a weights file, and the others.

    Those of OpenAI's weights are CLIP's, so the Hub is not asked for them.
    """
    found = find_configs(file)
    beside = {config.name for config in found}
    names = [name for name in CONFIG_NAMES if name not in beside]
    if is_of_openai(repository):
        return found + list(filter(None, (find_cached(repository, name) for name in names)))
    others, missing = find_all(repository, names)
    found += others
    if any(config.name == PREPROCESSOR for config in found):
        missing = [name for name in missing if name != PROCESSOR]
    if missing:
        log.warning(
            "%s of %s cannot be looked up now, as without a network; what is not there is taken as "
            "CLIP's",
            ", ".join(missing), repository,
        )  # fmt: skip
    return found


def find_all(repository: str, names: list[str]) -> tuple[list[pathlib.Path], list[str]]:
    """Return the files that are there, and the names that the Hub does not tell about now."""
    found, missing = [], []
    for name in names:
        if is_absent(repository, name):
            continue
        try:
            found.append(find_cached(repository, name) or fetch(repository, name))
        except errors.EntryNotFoundError:
            continue
        except (HubUnreachableError, *REFUSALS):  # it may have been there before
            missing.append(name)
    return found, missing
