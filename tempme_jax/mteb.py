"""Measure a model on the video tasks of MTEB (https://github.com/embeddings-benchmark/mteb).

    import mteb
    from tempme_jax.mteb import MtebEncoder

    tasks = mteb.get_tasks(tasks=["MSVDV2TRetrieval"])
    mteb.evaluate(MtebEncoder("workdir/msrvtt-tempme-42"), tasks)

It needs the extra [mteb]. Videos are decoded here, as everywhere in tempme_jax: `num_frames` frames
at the middles of equal spans of time. So torchcodec is not needed.
"""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from tempme_jax.extras import require_packages
from tempme_jax.fingerprint import compute_fingerprint, describe_model
from tempme_jax.loading import load
from tempme_jax.parameters import flatten

require_packages(("mteb", "datasets"))
# pyright: reportMissingImports=false, reportAttributeAccessIssue=false
from datasets import Video  # noqa: E402
from mteb.models.model_meta import ModelMeta  # noqa: E402

if TYPE_CHECKING:
    from tempme_jax.model import Model

# Inputs that are read at once: a data set may hold gigabytes of videos.
ROWS = 32
MODALITIES = ("video", "image", "text")


class MtebEncoder:
    """A model as MTEB takes one; it has the methods of mteb's `EncoderProtocol`.

    Attributes:
        model: the model.
        mteb_model_meta: what MTEB writes beside its results.
    """

    def __init__(
        self,
        model_name: "str | os.PathLike | Model",
        revision: str | None = None,
        *,
        device: Any = None,
        **options: Any,
    ):
        """Open a model.

        Args:
            model_name: a model, or the first argument of `load`.
            revision: what tells this model from others of its name; default: its fingerprint.
            device: as for `load`.
            **options: further arguments of `load`, such as `method`.

        Raises:
            TypeError: options are given with a model that is open.
            ValueError: the model compares texts with the frames of videos.
        """
        if isinstance(model_name, str | os.PathLike):
            name, model = os.fspath(model_name), load(model_name, device=device, **options)
        else:
            if device is not None or options:
                raise TypeError("device and options are for a name; this model is open already")
            name, model = getattr(model_name, "base", "") or "model", model_name
        if model.tau:
            raise ValueError(
                "MTEB compares one vector of each video, and the model was trained to compare "
                "texts with frames (train.pooling='text'); `tempme evaluate` measures it"
            )
        self.model = model
        self.mteb_model_meta = describe_for_mteb(model, name, revision)

    def encode(
        self,
        inputs: Any,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: Any = None,
        **options: Any,
    ) -> Float[np.ndarray, "n e"]:
        """Embed the rows of a task.

        Args:
            inputs: a DataLoader, whose data set has a column "video", "image" or "text".
            task_metadata: what MTEB knows of the task; its name is for errors.
            hf_split, hf_subset, prompt_type: not used: every part is embedded alike.
            **options: not used: the model has batches of its own.

        Returns:
            Vectors, float32 [n, e]: of unit length, unless the network compares means of unit
            vectors (UMT).

        Raises:
            VideoError: a video cannot be read.
            ValueError: the rows hold none of these, or several at once.
        """
        there = [name for name in MODALITIES if name in inputs.dataset.column_names]
        if len(there) != 1:
            given = " and ".join(there) or ", ".join(inputs.dataset.column_names)
            raise ValueError(
                f"the task {task_metadata.name} gives {given} in each row, and the model embeds "
                f"one of {', '.join(MODALITIES)}"
            )
        embed = getattr(self, f"_embed_{there[0]}")
        vectors = [embed(rows) for rows in read_rows(inputs.dataset, there[0])]
        return np.concatenate([np.zeros((0, self.model.arch.embed_dim), np.float32), *vectors])

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Float[np.ndarray, "n m"]:
        """Return the similarity of every vector of the one and of the other, float32 [n, m]."""
        return convert_vectors(embeddings1) @ convert_vectors(embeddings2).T

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Float[np.ndarray, " n"]:
        """Return the similarity of the vectors of two lists, pair by pair, float32 [n]."""
        return (convert_vectors(embeddings1) * convert_vectors(embeddings2)).sum(axis=1)

    def _embed_video(self, rows: list[Any]) -> np.ndarray:
        return self.model.embed_video([row["bytes"] or row["path"] for row in rows])

    def _embed_image(self, rows: list[Any]) -> np.ndarray:
        return self.model.embed_image(rows)

    def _embed_text(self, rows: list[str]) -> np.ndarray:
        return self.model.embed_text(rows)


def read_rows(dataset: Any, column: str) -> Iterator[list[Any]]:
    """Yield a column of a data set, some rows at once; videos as they are stored."""
    if isinstance(dataset.features[column], Video):
        dataset = dataset.cast_column(column, Video(decode=False))
    elif column == "video":
        raise ValueError(
            f"the column {column!r} must hold videos (datasets.Video), not "
            f"{dataset.features[column]}"
        )
    dataset = dataset.select_columns([column])
    for start in range(0, len(dataset), ROWS):
        yield dataset[start : start + ROWS][column]


def convert_vectors(vectors: Any) -> Float[np.ndarray, "n e"]:
    """Return vectors of NumPy or PyTorch, [e] or [n, e], as float32 [n, e]."""
    return np.atleast_2d(np.asarray(vectors, np.float32))


def describe_for_mteb(model: "Model", name: str, revision: str | None = None) -> ModelMeta:
    """Return what MTEB writes beside the results of a model.

    Args:
        model: the model.
        name: its name; a path is shortened to its last part.
        revision: what tells it from others of that name; None = its fingerprint.
    """
    is_path = name.count("/") != 1 or os.path.exists(name)
    short = os.path.basename(os.path.normpath(name)) if is_path else name
    count = None
    if not model.is_exported:
        count = sum(array.size for array in flatten(model.params).values())
    is_cosine = model.is_exported or model.network.unit_videos
    return ModelMeta(
        loader=None,
        name=f"tempme_jax/{short}" if is_path else short,
        revision=revision or compute_fingerprint(describe_model(model))[:16],
        release_date=None,
        languages=["eng-Latn"],
        n_parameters=count,
        memory_usage_mb=None if count is None else count * 4 / 2**20,
        max_tokens=model.max_words,
        embed_dim=model.arch.embed_dim,
        license=None,
        open_weights=True,
        public_training_code=None,
        public_training_data=None,
        framework=["ONNX"] if model.is_exported else ["JAX"],
        similarity_fn_name="cosine" if is_cosine else "dot",
        use_instructions=False,
        training_datasets=None,
        modalities=["text", "image", "video"],
    )
