"""The model card of a published model: what is known of it, and what is not."""

import dataclasses
import json
import math
from typing import Any

from huggingface_hub import ModelCardData

from tempme_jax.networks.architecture import Architecture
from tempme_jax.version import __version__
from tempme_jax.weights.hub import BUILT_IN, is_repository
from tempme_jax.weights.saved import TrainingFacts

# The card of ours holds this line; one without it is somebody else's and stays as it is.
MARK = "<!-- This card was written by tempme_jax. Without this line it stays as it is. -->"
# Licences of weights that their repositories do not state, by the beginnings of names.
LICENCES = {"openai/clip-vit-": "mit"}
UNKNOWN = "unknown"
DIRECTIONS = {"text_to_video": "text to video", "video_to_text": "video to text"}
# What Markdown or HTML would make something else of.
ENTITIES = str.maketrans({letter: f"&#{ord(letter)};" for letter in "\\`*<>|[]&"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Publication:
    """A model that is published.

    Attributes:
        repository: where to.
        settings: see `Weights`.
        arch: the sizes of its backbone.
        base: name of the weights that it was made of.
        trained: what its training says of it, if that is known.
        whole: whether the backbone is published, too.
        learned: how many parameters were learned.
        license: licence that the user chose; None = that of the base model.
    """

    repository: str
    settings: dict[str, Any]
    arch: Architecture
    base: str
    trained: TrainingFacts | None
    whole: bool
    learned: int
    license: str | None = None

    @property
    def has_public_base(self) -> bool:
        """Whether the base model can be opened by its name."""
        return self.base in BUILT_IN or is_repository(self.base)


def write_card(about: Publication, base_license: str | None) -> str:
    """Return the text of a model card.

    Args:
        about: the model.
        base_license: licence of the base model; None if it is not known.
    """
    data = ModelCardData(
        license=about.license or base_license or UNKNOWN,
        base_model=about.base if is_repository(about.base) else None,
        library_name="tempme_jax",
        pipeline_tag="feature-extraction",
        tags=["text-video-retrieval", "video-search", "jax", about.settings["method"]],
    )
    parts = [
        f"---\n{data.to_yaml()}\n---",
        MARK,
        f"# {about.repository.partition('/')[2]}",
        describe_model(about),
        "## Use",
        describe_use(about),
        "## Method",
        describe_method(about),
        "## Training and scores",
        describe_training(about),
        "## Licence",
        describe_licence(about, base_license),
    ]
    return "\n\n".join(parts) + "\n"


def show_text(text: object) -> str:
    r"""Return a text of a file, which anybody may have written, as Markdown shows it on a line.

    >>> show_text("a\n# <b>")
    'a # &#60;b&#62;'
    """
    return " ".join(str(text).split()).translate(ENTITIES)


def show_code(text: object) -> str:
    r"""Return a text as a line of code within text or a table.

    >>> show_code("a`|\n# b")
    "`a'\\| # b`"
    """
    return "`" + " ".join(str(text).split()).replace("`", "'").replace("|", r"\|") + "`"


def describe_model(about: Publication) -> str:
    """Return what the repository holds, in words."""
    base = show_code(about.base) if about.base else "weights without a name"
    holds = "the whole model" if about.whole else "what was learned, without the base model"
    return (
        f"A model for text-video retrieval: method {show_code(about.settings['method'])} on "
        f"{base}, with {about.settings['num_frames']} frames of a video. "
        f"This repository holds {holds} ({about.learned:,} learned parameters), as safetensors."
    )


def describe_use(about: Publication) -> str:
    """Return how to open the model, in code."""
    given = f'"{about.repository}"'
    if not (about.whole or about.has_public_base):
        base = json.dumps(about.base or "base.safetensors").replace("`", r"\x60")
        given = f"{base}, adapter={given}"
    # With a temperature, texts are compared with the frames of videos.
    embed = "embed_frames" if about.settings.get("tau") else "embed_video"
    return (
        "```python\nimport tempme_jax\n\n"
        f"model = tempme_jax.load({given})\n"
        f'model.similarity(model.embed_text("a cat jumps"), model.{embed}("cat.mp4"))\n```'
    )


def describe_method(about: Publication) -> str:
    """Return the options and the preprocessing as a table."""
    arch, settings = about.arch, about.settings
    preprocessing = {
        "frames": f"{settings['num_frames']}, uniformly sampled",
        "size of a frame": f"{arch.image_size} x {arch.image_size} ({arch.resize})",
        "mean of red, green, blue": ", ".join(f"{value:.8g}" for value in arch.mean),
        "deviation": ", ".join(f"{value:.8g}" for value in arch.std),
        "ids of a text": f"{settings['max_words']}, tokenizer {arch.tokenizer}",
    }
    rows = {show_code(name): show_code(value) for name, value in settings["options"].items()}
    lines = [f"| {name} | {value} |" for name, value in (rows | preprocessing).items()]
    return "\n".join(["| Option | Value |", "| --- | --- |", *lines])


def describe_training(about: Publication) -> str:
    """Return the data, the protocol and the scores; what is not known is said."""
    trained = about.trained
    if trained is None:
        drawn = about.settings["drawn"]["paths"]
        fact = "What was learned still has its initial values: it was not trained." if drawn else ""
        return fact or "Not recorded: the data, the protocol and the scores are not known."
    facts = [
        f"Trained on {show_text(trained['dataset'])} (seed {trained['seed']}, step "
        f"{trained['step']}).",
        f"Measured: {show_text(trained['measured'])}.",
    ]
    names = list(dict.fromkeys(name for row in trained["scores"].values() for name in row))
    table = [
        "| | " + " | ".join(map(show_text, names)) + " |",
        "| --- |" + " --- |" * len(names),
        *(
            f"| {DIRECTIONS.get(direction) or show_text(direction)} | "
            + " | ".join(show_score(row.get(name)) for name in names)
            + " |"
            for direction, row in trained["scores"].items()
        ),
    ]
    return "\n".join(facts) + "\n\n" + "\n".join(table)


def show_score(score: float | None) -> str:
    """Return a score as a number; "" for none, and in words what is no number.

    >>> show_score(45.678), show_score(None), show_score(math.nan)
    ('45.68', '', 'not a number')
    """
    if score is None:
        return ""
    return f"{score:.4g}" if math.isfinite(score) else "not a number"


def describe_licence(about: Publication, base_license: str | None) -> str:
    """Return what the licences are."""
    base = show_code(about.base) if about.base else "a file without a name"
    of_base = base_license or "not known here; ask those who published it"
    own = show_text(about.license or base_license or "not known")
    return (
        f"Base model: {base}, licence: {show_text(of_base)}. What was learned: {own}. Written by "
        f"tempme_jax {__version__}."
    )
