"""Get the weights of a model before they are needed, `tempme download`: from the Hub or a file."""

import dataclasses
import hashlib
import os
import pathlib
import re

from huggingface_hub import constants

from tempme_jax.checks import suggest
from tempme_jax.files import write_whole
from tempme_jax.screen import make_progress_bar, show_work
from tempme_jax.weights import hub, repository
from tempme_jax.weights.convert import check_backbone, convert_file
from tempme_jax.weights.errors import WeightsError
from tempme_jax.weights.files import load_weights
from tempme_jax.weights.saved import SHARDS
from tempme_jax.weights.unreachable import OutOfReachError

# Files of PyTorch, which are converted where a repository has no others.
TORCH_NAMES = ("open_clip_pytorch_model.bin", "pytorch_model.bin")
TORCH_SUFFIXES = (".pt", ".pth", ".bin")
# The digests that OpenAI's ViT-B/32 has been published with.
PUBLISHED = {
    "e6d1bd7789aa45192b3bf90570a789b478bae1b74ebcce7eddd908e83a2b7c31":
        "timm/vit_base_patch32_clip_224.openai",
    "a63082132ba4f97a80bea76823f544493bffa8082296d62d71581a4feff1576f":
        "openai/clip-vit-base-patch32",
}  # fmt: skip
PIECE = 2**22  # bytes that are copied at a time
DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclasses.dataclass(frozen=True)
class Obtained:
    """Weights that are on this machine now.

    Attributes:
        model: the name by which they open.
        file: where they are.
        sha256: digest of the file that was downloaded or copied.
        remarks: what else there is to say, in sentences.
    """

    model: str
    file: pathlib.Path
    sha256: str
    remarks: tuple[str, ...] = ()


def obtain(model: str, source: str | None = None, *, sha256: str | None = None) -> Obtained:
    """Get the weights of a model to this machine, and try whether they open.

    Args:
        model: the name of a Hugging Face repository.
        source: a file or a folder to take them from, without a network; None to download them.
        sha256: what the digest of the file must be; None for any, or for what the Hub says.

    Raises:
        ValueError: if the model is no name of a repository, or the digest is another one; a
            WeightsError if the weights do not open.
        FileNotFoundError: if there is no such repository or file; it says what to do.
    """
    if sha256 is not None and not DIGEST.fullmatch(sha256.lower()):
        raise ValueError(f"--sha256 {sha256} is not a SHA-256, which has 64 digits of 0-9 and a-f")
    if model in hub.BUILT_IN:
        file = pathlib.Path(str(hub.BUILT_IN[model]))
        return Obtained(model, file, compute_digest(file), ("It comes with the package.",))
    if not hub.is_repository(model):
        known = (*hub.BACKBONES, *hub.BUILT_IN)
        raise ValueError(
            f"{model!r} is not the name of a Hugging Face repository, such as "
            f"{hub.BACKBONES[0]}{suggest(model, known)}; a file on this machine needs no download: "
            "give its path to --model"
        )
    expected = sha256.lower() if sha256 else None
    if source is not None:
        return take_file(model, pathlib.Path(source).expanduser(), expected)
    return download_model(model, expected)


def download_model(model: str, expected: str | None) -> Obtained:
    """Download the weights of a repository, or look at those that are here already."""
    with show_work(f"Getting {model}"):
        try:
            file, _ = hub.locate(model)
        except FileNotFoundError as error:
            if isinstance(error, OutOfReachError) or (torch := fetch_torch(model)) is None:
                raise
            file = torch
    if file.suffix in TORCH_SUFFIXES:
        return convert_here(model, file, expected)
    sha256 = compute_digest(file)
    check_digest(file.resolve(), sha256, expected or find_published_digest(file))
    require_whole(model)
    return Obtained(model, file, sha256, describe_digest(sha256))


def take_file(model: str, source: pathlib.Path, expected: str | None) -> Obtained:
    """Copy the weights of a model, and the configs beside them, to the user's cache."""
    if not source.exists():
        raise FileNotFoundError(f"--from {source}: there is no such file or folder")
    if source.is_file() and source.suffix in TORCH_SUFFIXES:
        return convert_here(model, source, expected)
    file, configs = hub.locate(str(source.absolute()))
    if file.name.endswith(SHARDS):
        raise ValueError(
            f"--from {source}: the weights are in several files; open them by the path of their "
            f"folder: --model {file.parent}"
        )
    require_whole(file)  # before anything is replaced
    name = file.name if file.name in hub.FILE_NAMES else "model.safetensors"
    target = find_target(model, name)
    sha256 = copy_file(file, target, expected)
    for config in configs:
        copy_file(config, target.with_name(config.name))
    remove_others(target)
    return Obtained(model, target, sha256, describe_digest(sha256))


def require_whole(source: str | os.PathLike) -> None:
    """Raise a WeightsError unless weights open, with all arrays of a backbone in their shapes."""
    weights = load_weights(source)
    try:
        check_backbone(weights.params, weights.arch)
    except WeightsError as error:
        raise WeightsError(f"{source}: {error}") from error


def convert_here(model: str, torch: pathlib.Path, expected: str | None) -> Obtained:
    """Convert a file of PyTorch to one in the user's cache."""
    sha256 = compute_digest(torch)
    check_digest(torch, sha256, expected or find_published_digest(torch))
    target = find_target(model, "model.safetensors")
    with show_work(f"Converting {torch.name}"):
        known = "quick_gelu" if hub.is_of_openai(model) else None
        remarks = convert_file(torch, target, activation=known, overwrite=True)
    remove_others(target)
    told = f"It was converted from {torch.name}, without running any code in it."
    return Obtained(model, target, sha256, (*describe_digest(sha256), told, *remarks))


def fetch_torch(model: str) -> pathlib.Path | None:
    """Download the file of PyTorch of a repository, and its configs beside; None without one."""
    try:
        if file := repository.fetch_first(model, TORCH_NAMES):
            hub.download_configs(model, file)
        return file
    except (repository.HubUnreachableError, *hub.REFUSALS):
        return None


def find_target(model: str, name: str) -> pathlib.Path:
    """Return where the file of a model is kept; make its folder."""
    folder = hub.find_kept_folder(model)
    if folder is None:
        raise FileNotFoundError("there is no home folder to keep weights in; set XDG_CACHE_HOME")
    folder.mkdir(parents=True, exist_ok=True)
    return folder / name


def copy_file(source: pathlib.Path, target: pathlib.Path, expected: str | None = None) -> str:
    """Copy a file, whole or not at all, and return its digest."""
    if target.exists() and source.samefile(target):
        sha256 = compute_digest(source)
        check_digest(source, sha256, expected)
        return sha256
    digest, size = hashlib.sha256(), source.stat().st_size
    bar = make_progress_bar(
        label=source.name, total=size, unit="B", unit_scale=True, quiet=size <= PIECE
    )
    with bar, write_whole(target) as unfinished, open(source, "rb") as read:
        with open(unfinished, "wb") as written:
            while piece := read.read(PIECE):
                written.write(piece)
                digest.update(piece)
                bar.update(len(piece))
        check_digest(source, digest.hexdigest(), expected)
    return digest.hexdigest()


def remove_others(target: pathlib.Path) -> None:
    """Remove other weights of the same model, one of which would be found first."""
    for name in hub.FILE_NAMES:
        if name != target.name:
            target.with_name(name).unlink(missing_ok=True)


def compute_digest(file: pathlib.Path) -> str:
    """Return the SHA-256 of a file."""
    with open(file, "rb") as read:
        return hashlib.file_digest(read, "sha256").hexdigest()


def check_digest(file: pathlib.Path, sha256: str, expected: str | None) -> None:
    """Raise a WeightsError if a file has another digest than it must have."""
    if expected not in (None, sha256):
        raise WeightsError(
            f"{file} is damaged, or another file: its sha256 is {sha256}, and must be {expected}; "
            "get it again, once this one is removed"
        )


def find_published_digest(file: pathlib.Path) -> str | None:
    """Return the digest that the Hub gave a file of its cache, by which it names the content."""
    cache = pathlib.Path(constants.HF_HUB_CACHE).resolve()
    content = file.resolve()
    named = content.is_relative_to(cache) and DIGEST.fullmatch(content.name)
    return content.name if named else None


def describe_digest(sha256: str) -> tuple[str, ...]:
    """Return a sentence about a digest that is known, if it is."""
    known = PUBLISHED.get(sha256)
    return (f"The digest is that of {known} as it was published.",) if known else ()
