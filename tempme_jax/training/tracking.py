"""The curves and the results of a run in a service for experiments: `--log wandb`."""

import contextlib
import importlib.util
import os
import pathlib
import secrets
from collections.abc import Iterator, Mapping
from typing import Any

from tempme_jax.files import write_text
from tempme_jax.training.config import Config
from tempme_jax.training.metrics import MEASURES
from tempme_jax.training.results import DIRECTIONS

# The services that can be named.
SERVICES = ("wandb",)
# The project in Weights & Biases, unless WANDB_PROJECT names another.
PROJECT = "tempme"
# The file of a workdir that holds the id of its run there, so a resumed run goes on in it.
ID = "wandb_id.txt"


class Tracker:
    """Takes what a run measures; this one keeps nothing."""

    def write(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        """Take numbers of a step; `kind` is "train", or the split that was measured."""

    def summarize(self, results: dict[str, Any]) -> None:
        """Take the content of results.json."""


class WandbTracker(Tracker):
    """Sends them to Weights & Biases, or with WANDB_MODE=offline keeps them in the workdir.

    Args:
        folder: the workdir.
        config: the settings.

    Raises:
        ValueError: if the service refuses, or is out of reach.
    """

    def __init__(self, folder: pathlib.Path, config: Config):
        import wandb  # pyright: ignore[reportMissingImports]

        try:
            self.run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", PROJECT),
                id=choose_id(folder), resume="allow", name=folder.resolve().name, dir=str(folder),
                config=config.to_json(), settings=wandb.Settings(console="off"),
            )  # fmt: skip
        except (wandb.Error, OSError) as error:
            raise ValueError(
                f"--log wandb: {error} Or set WANDB_MODE=offline, which keeps all in "
                f"{folder}/wandb until `wandb sync`"
            ) from error
        # Steps of an attempt that was interrupted come again; its own count would refuse them.
        self.run.define_metric("step")
        self.run.define_metric("*", step_metric="step")

    def write(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        """Add points to the curves."""
        self.run.log({"step": step} | {f"{kind}/{name}": value for name, value in values.items()})

    def summarize(self, results: dict[str, Any]) -> None:
        """Add the results as the summary of the run."""
        self.run.summary.update(flatten_results(results))


def require_service(name: str | None) -> None:
    """Raise a ValueError unless a service can be used, before hours of preparation."""
    if name == "wandb" and importlib.util.find_spec("wandb") is None:
        raise ValueError(
            "--log wandb needs the package wandb; install it with: pip install 'tempme-jax[wandb]'"
        )


@contextlib.contextmanager
def open_tracker(name: str | None, folder: pathlib.Path, config: Config) -> Iterator[Tracker]:
    """Yield the tracker of a service, one that keeps nothing for None, and close it in the end."""
    if name is None:
        yield Tracker()
        return
    tracker, code = WandbTracker(folder, config), 1
    try:
        yield tracker
        code = 0
    finally:
        tracker.run.finish(exit_code=code)


def choose_id(folder: pathlib.Path) -> str:
    """Return the id of a workdir's run in the service, which is chosen once."""
    file = folder / ID
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if (found := file.read_text(encoding="utf-8").strip()).isalnum():
            return found
    name = secrets.token_hex(4)
    write_text(file, f"{name}\n")
    return name


def flatten_results(results: dict[str, Any]) -> dict[str, float]:
    """Return the main numbers of results.json by plain names, such as "test/text_to_video R@1"."""
    split, flat = results["split"], {}
    if "accuracy" in results:
        flat[f"{split}/accuracy"] = results["accuracy"]
    for direction in (one for one in DIRECTIONS if one in results):
        for name in MEASURES:
            flat[f"{split}/{direction} {name}"] = results[direction][name]
    return flat | {f"costs/{name}": value for name, value in results["costs"].items()}
