"""Files of Hugging Face repositories: from the local cache, else from the Hub.

The Hub itself is asked quietly: huggingface_hub tries again for half a minute for each file, and
says so each time. Here one short question tells whether the Hub is within reach, and an answer that
there is no network holds for a while.
"""

import contextlib
import logging
import pathlib
import re
import time
from collections.abc import Iterator, Sequence

import huggingface_hub
import safetensors
from huggingface_hub import constants, errors

from tempme_jax.weights.unreachable import OFFLINE

# For so many seconds the Hub is not asked again once it was out of reach.
REMEMBERED = 300.0
# An array of timm's files, which hold the video half of a CLIP alone.
OF_TIMM = "blocks.0.attn.qkv.weight"
NOT_THE_HUB = "something else answers in its place, as the page of a Wi-Fi that wants a login does"
# When the Hub was out of reach, and why, by its address.
_out_of_reach: dict[str, tuple[float, str]] = {}
_within_reach: set[str] = set()


class HubUnreachableError(OSError):
    """The Hub cannot be asked; the message says why, in words."""


def find_cached(repository: str, name: str) -> pathlib.Path | None:
    """Return a file of a repository in the local cache; of any revision if not of the newest."""
    cached = huggingface_hub.try_to_load_from_cache(repository, name)
    if isinstance(cached, str):
        return pathlib.Path(cached)
    folder = pathlib.Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
    # Another program may have taken the file from a branch, and "main" may have moved on.
    found = [file for file in folder.glob(f"snapshots/*/{name}") if file.is_file()]
    return max(found, key=lambda file: file.stat().st_mtime, default=None)


def find_cached_weights(repository: str, names: Sequence[str]) -> pathlib.Path | None:
    """Return the first of the names that the local cache has, and that holds a whole model."""
    files = (find_cached(repository, name) for name in names)
    return next((file for file in files if file and not is_half(file)), None)


def is_half(file: pathlib.Path) -> bool:
    """Return whether a safetensors file is one of timm, with the video half of a CLIP alone."""
    try:
        with safetensors.safe_open(file, "numpy") as opened:
            return OF_TIMM in opened.keys()
    except (OSError, safetensors.SafetensorError):
        return False  # whoever reads it says what is wrong


def is_absent(repository: str, name: str) -> bool:
    """Return whether the cache knows that the repository has no such file."""
    cached = huggingface_hub.try_to_load_from_cache(repository, name)
    return cached is not None and not isinstance(cached, str)


def fetch_first(repository: str, names: Sequence[str]) -> pathlib.Path | None:
    """Download the first of the files that is there; None if none is.

    Raises:
        HubUnreachableError: if the Hub cannot be asked.
        RepositoryNotFoundError, HFValidationError: of huggingface_hub, if there is no such
            repository.
    """
    for name in names:
        with contextlib.suppress(errors.EntryNotFoundError):
            return fetch(repository, name)
    return None


def fetch(repository: str, name: str) -> pathlib.Path:
    """Download a file of a repository to the local cache.

    Raises:
        HubUnreachableError: if the Hub cannot be asked.
        EntryNotFoundError, RepositoryNotFoundError, HFValidationError: of huggingface_hub, if there
            is no such file or repository.
    """
    require_reach(repository, name)
    try:
        with silence_hub():
            return pathlib.Path(huggingface_hub.hf_hub_download(repository, name))
    except errors.LocalEntryNotFoundError as error:
        reason = describe_reason(error.__cause__ or error)
        _within_reach.discard(constants.ENDPOINT)
        _out_of_reach[constants.ENDPOINT] = time.monotonic(), reason
        raise HubUnreachableError(reason) from error


def require_reach(repository: str, name: str) -> None:
    """Raise a HubUnreachableError if the Hub cannot be asked, at once if that is known."""
    address = constants.ENDPOINT
    if address in _within_reach:
        return
    since, reason = _out_of_reach.get(address, (-REMEMBERED, ""))
    if time.monotonic() - since < REMEMBERED:
        raise HubUnreachableError(reason)
    if reason := find_reason(repository, name):
        if reason != OFFLINE:  # which is known without asking, and may be unset
            _out_of_reach[address] = time.monotonic(), reason
        raise HubUnreachableError(reason)
    _within_reach.add(address)


def find_reason(repository: str, name: str) -> str:
    """Ask the Hub about a file, once; return why it cannot be asked, or "" if it answers."""
    try:
        with silence_hub():
            url = huggingface_hub.hf_hub_url(repository, name)
            found = huggingface_hub.get_hf_file_metadata(url, retry_on_errors=False)
    except (errors.EntryNotFoundError, errors.RepositoryNotFoundError, errors.HFValidationError):
        return ""
    except Exception as error:  # those of the HTTP client, which huggingface_hub chooses
        return describe_reason(error)
    return "" if found.commit_hash else NOT_THE_HUB


def describe_reason(error: BaseException) -> str:
    """Return in a few words why the Hub is out of reach."""
    if isinstance(error, errors.OfflineModeIsEnabled):
        return OFFLINE
    if isinstance(error, errors.HfHubHTTPError):
        answer = error.response
        why = "; is the token in HF_TOKEN, or of `hf auth login`, still valid?"
        known = why if answer.status_code == 401 else ""
        return f"it answers {answer.status_code} {answer.reason_phrase}".rstrip() + known
    first = re.sub(r"^\[Errno -?\d+\] ", "", str(error).strip()).split("\n")[0]
    return first[:120].rstrip(".") or type(error).__name__


def forget_reach() -> None:
    """Ask the Hub again the next time, as after the network is back."""
    _out_of_reach.clear()
    _within_reach.clear()


@contextlib.contextmanager
def silence_hub() -> Iterator[None]:
    """Keep huggingface_hub from printing warnings in a context; its progress bars stay."""
    log = logging.getLogger("huggingface_hub")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)
