"""What to do about weights that are not here while the Hub cannot be asked, in one screen."""

import os
import pathlib

from tempme_jax.words import name_program

# Repositories with the same arrays as safetensors, and the size of the file: of OpenAI's own, some
# hold PyTorch's files only.
TWINS = {
    "openai/clip-vit-base-patch32": ("timm/vit_base_patch32_clip_224.openai", "605 MB"),
    "openai/clip-vit-base-patch16": ("timm/vit_base_patch16_clip_224.openai", "599 MB"),
    "openai/clip-vit-large-patch14": ("timm/vit_large_patch14_clip_224.openai", "1.7 GB"),
    "openai/clip-vit-large-patch14-336": ("timm/vit_large_patch14_clip_336.openai", "1.7 GB"),
}
OFFLINE = "HF_HUB_OFFLINE is set"


class OutOfReachError(FileNotFoundError):
    """The weights of a repository are not on this machine, and the Hub cannot be asked.

    Attributes:
        repository: name of the repository.
        steps: what to do, in lines, also for an index that was built with these weights.
    """

    def __init__(self, repository: str, reason: str, folder: pathlib.Path | None, hint: str = ""):
        """Describe what to do.

        Args:
            repository: name of the repository.
            reason: why the Hub cannot be asked.
            folder: where its file can be put; None if there is no such place.
            hint: what else the name may have meant; empty if it is known.
        """
        self.repository, self.reason, self.hint = repository, reason, hint
        self.steps = list_steps(repository, reason, folder)
        super().__init__(f"{self.problem}.\n\n{self.steps}\n\n{describe_tiny()}")

    @property
    def problem(self) -> str:
        """What is missing, and why, in a sentence without a full stop."""
        host = get_endpoint().partition("://")[2]
        return (
            f"the weights of {self.repository}{self.hint} are not on this machine, and {host} is "
            f"out of reach ({self.reason})"
        )


def describe_tiny() -> str:
    """Say how to try everything without these weights."""
    return (
        "To try it now, without a network, take the model tiny-tempme, which comes with the "
        "package,\nand knows only short films of moving shapes:\n"
        f"  {name_program()} index FOLDER --model tiny-tempme"
    )


def get_endpoint() -> str:
    """Return the address of the Hub."""
    from huggingface_hub import constants  # a search that goes well does without it

    return constants.ENDPOINT


def list_steps(repository: str, reason: str, folder: pathlib.Path | None) -> str:
    """Return the ways to get the weights of a repository, in lines."""
    source, size = TWINS.get(repository, (repository, ""))
    name = "open_clip_model.safetensors" if source.startswith("timm/") else "model.safetensors"
    address = f"{get_endpoint()}/{source}/resolve/main/{name}"
    about = f" ({size})" if size else ""
    steps = [
        "With a network:" if reason != OFFLINE else "With a network, and HF_HUB_OFFLINE unset:",
        f"  {name_program()} download {repository}",
        "Or on another machine, download this file, and bring it here:",
        f"  {address}{about}",
        f"  {name_program()} download {repository} --from {name}",
    ]
    if folder is not None:
        steps += [
            "which puts it at this place, where you can put it yourself, too:",
            f"  {shorten_home(folder / name)}",
        ]
    return "\n".join(steps)


def shorten_home(path: pathlib.Path) -> str:
    """Return a path with ~ for the user's home folder."""
    home = os.path.expanduser("~")
    text = str(path)
    return f"~{text[len(home) :]}" if text.startswith(home + os.sep) and home != os.sep else text
