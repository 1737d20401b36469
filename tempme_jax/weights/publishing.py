"""Publish models in repositories of the Hugging Face Hub."""

import pathlib
import tempfile
from collections.abc import Callable

import huggingface_hub
from huggingface_hub import CommitOperationAdd, errors

from tempme_jax.version import __version__
from tempme_jax.weights.cards import LICENCES, MARK, Publication, write_card
from tempme_jax.weights.hub import ADAPTER_NAME, BUILT_IN, is_repository

CARD = "README.md"
WHOLE_NAME = "model.safetensors"
# Of what comes with the package.
OWN_LICENCE = "apache-2.0"


class PublishingError(OSError):
    """The Hub refuses a model, or is out of reach; the message says why."""


def publish(
    about: Publication,
    save: Callable[[pathlib.Path], None],
    *,
    private: bool | None = None,
    message: str | None = None,
    token: str | None = None,
) -> str:
    """Upload a model and its card in one commit; return the address of the commit.

    Args:
        about: the model.
        save: writes its file.
        private, message, token: as for `Model.push_to_hub`.

    Raises:
        ValueError: if the name is not one of a repository.
        PublishingError: if the Hub refuses, or is out of reach.
    """
    repository = about.repository
    if not isinstance(repository, str) or not is_repository(repository):
        raise ValueError(f'repository={repository!r} must be a name such as "user/model"')
    hub = huggingface_hub.HfApi(token=token, library_name="tempme_jax", library_version=__version__)
    name = WHOLE_NAME if about.whole else ADAPTER_NAME
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / name
        save(file)  # before anything is asked of the Hub
        try:
            hub.create_repo(repository, private=private, exist_ok=True)
            files: list[CommitOperationAdd] = [CommitOperationAdd(name, file)]
            if is_card_ours(hub, repository):
                card = write_card(about, find_licence(hub, about.base)).encode()
                files.append(CommitOperationAdd(CARD, card))
            commit = hub.create_commit(
                repository, files, commit_message=message or f"Upload {name} with tempme_jax"
            )
        except errors.HfHubHTTPError as error:
            raise PublishingError(explain_refusal(repository, error)) from error
        # Those of the HTTP client, which huggingface_hub chooses, and of answers that are no JSON.
        except Exception as error:
            reason = str(error.__cause__ or error).strip().split("\n")[0]
            raise PublishingError(
                f"{repository} cannot be published: {reason}; nothing was committed"
            ) from error
    return str(commit.commit_url)


def is_card_ours(hub: huggingface_hub.HfApi, repository: str) -> bool:
    """Return whether a repository has no card, or one that was written here."""
    try:
        file = hub.hf_hub_download(repository, CARD)
    except errors.EntryNotFoundError:
        return True
    return MARK in pathlib.Path(file).read_text(encoding="utf-8", errors="replace")


def find_licence(hub: huggingface_hub.HfApi, base: str) -> str | None:
    """Return the licence of a base model, as its repository states it; None if it is not known."""
    if base in BUILT_IN:
        return OWN_LICENCE
    if not is_repository(base):
        return None
    try:
        card = hub.model_info(base).card_data
    except (errors.HfHubHTTPError, errors.HFValidationError):
        card = None
    stated = card.get("license") if card else None
    known = (name for start, name in LICENCES.items() if base.startswith(start))
    return stated if isinstance(stated, str) else next(known, None)


def explain_refusal(repository: str, error: errors.HfHubHTTPError) -> str:
    """Return a sentence that says why the Hub did not take a model."""
    code = error.response.status_code
    if code == 401:
        return (
            f"the Hub wants to know who publishes {repository}: log in with `hf auth login`, or "
            "give a token with the right to write"
        )
    if code == 403:
        return (
            f"the Hub does not let you write to {repository}; whose name is in it, and whose token?"
        )
    said = error.server_message or str(error).strip().split("\n")[0]
    return f"the Hub does not take {repository} (it answers {code}: {said})"
