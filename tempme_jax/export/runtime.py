"""A model whose towers run in ONNX Runtime, without JAX."""

import importlib
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from tempme_jax import inputs
from tempme_jax.export.about import (
    METADATA,
    Agreement,
    ExportedModel,
    NotExportedError,
    make_architecture,
    read_about,
)
from tempme_jax.export.metadata import read_metadata
from tempme_jax.heap import return_freed_memory
from tempme_jax.networks.marks import MARKERS, mark_to_end
from tempme_jax.two_towers import Batches, TwoTowers

if TYPE_CHECKING:
    import onnxruntime

SUFFIX = ".onnx"
TOWERS = ("video", "text")
# A model in int8 that agrees less than this with its float32 is not used unless it is asked for.
LEAST_COSINE = 0.99
# Videos that go through the tower at once: on a CPU more only overflow its caches.
VIDEO_BATCH = 2
TEXT_BATCH = 64


class MissingRuntimeError(ValueError):
    """A package that runs or makes ONNX files is not installed."""


class InaccurateModelWarning(UserWarning):
    """The vectors of an exported model differ much from those of the model."""


def name_files(target: str | os.PathLike, suffix: str = SUFFIX) -> dict[str, Path]:
    """Return the file of each tower; `target` is their common name, or one of them.

    >>> {tower: str(file) for tower, file in name_files("a/clip.onnx").items()}
    {'video': 'a/clip.video.onnx', 'text': 'a/clip.text.onnx'}
    >>> name_files("clip.text.onnx")["video"].name
    'clip.video.onnx'
    """
    target = Path(target)
    name = target.name.removesuffix(suffix)
    for tower in TOWERS:
        name = name.removesuffix(f".{tower}")
    return {tower: target.with_name(f"{name}.{tower}{suffix}") for tower in TOWERS}


def require_package(name: str) -> Any:
    """Import a package of the extra [onnx].

    Raises:
        MissingRuntimeError: if it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingRuntimeError(
            f"ONNX files need the package {name.partition('.')[0]}, which cannot be imported "
            f"({error}); install it with: pip install 'tempme-jax[onnx]'"
        ) from error


class OnnxModel(TwoTowers):
    """A model that `tempme export` wrote; `tempme_jax.load("clip.onnx")` opens it.

    A tower is read from its file when it is first needed, so a search needs only that of texts.

    Attributes:
        file: common name of the files of both towers.
        about: what the files say about the model.
    """

    is_exported = True

    def __init__(self, file: str | os.PathLike, *, warn: bool = True):
        """Open the files of a model.

        Args:
            file: their common name, or that of one of them.
            warn: whether to warn if the vectors differ much from those of the model.

        Raises:
            FileNotFoundError: if there is neither of them.
            NotExportedError: if they are not of one export of a model that can be read.
            MissingRuntimeError: if ONNX Runtime is not installed.
        """
        require_package("onnxruntime")
        self.file = Path(file)
        self._files = name_files(file)
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}
        there = [path for path in self._files.values() if path.is_file()]
        if not there:
            names = " or ".join(path.name for path in self._files.values())
            raise FileNotFoundError(f"{self.file.parent} has no file {names}")
        found = [read_file(path) for path in there]
        if found[0]["fingerprint"] != found[-1]["fingerprint"]:
            raise NotExportedError(
                f"{' and '.join(path.name for path in there)} are towers of different models, or "
                "of one model with other settings; export the model again, into both files"
            )
        if found[0]["precision"] != found[-1]["precision"]:
            raise NotExportedError(
                f"{' and '.join(path.name for path in there)} are of different precisions, "
                f"{found[0]['precision']} and {found[-1]['precision']}; export both again"
            )
        self.about: ExportedModel = found[0]
        self.arch = make_architecture(self.about)
        self.num_frames: int = self.about["description"]["num_frames"]
        self.max_words: int = self.about["description"]["max_words"]
        self.method: str = self.about["description"]["method"]
        self.vocabulary = self.about.get("vocabulary", "")
        if warn and self.cosine is not None and self.cosine < LEAST_COSINE:
            warnings.warn(
                f"the vectors of {self.file} agree with those of its model only to a cosine of "
                f"{self.cosine:.4f}; export it in float32",
                InaccurateModelWarning,
                stacklevel=3,
            )

    def __repr__(self) -> str:
        """Say what runs here."""
        return (
            f"OnnxModel({str(self.file)!r}, method={self.method!r}, precision={self.precision!r})"
        )

    @property
    def precision(self) -> str:
        """The precision of the matrix products: "float32" or "int8"."""
        return self.about["precision"]

    @property
    def agreement(self) -> dict[str, Agreement]:
        """How the vectors of each tower agree with those of the model, on drawn inputs."""
        return self.about["agreement"]

    @property
    def cosine(self) -> float | None:
        """The smallest cosine of a vector and that of the model; None if it was not measured."""
        return min((tower["cosine"] for tower in self.agreement.values()), default=None)

    @property
    def description(self) -> dict[str, Any]:
        """The description of the model that was exported, see `fingerprint.describe_model`."""
        return self.about["description"]

    @property
    def can_judge(self) -> bool:
        """Whether it can judge a text and a video together: a matching head is not exported."""
        return False

    @property
    def video_batch(self) -> int:
        """The number of videos that go through the video tower at once.

        In int8 it is one: a scale is of a whole batch, so a vector would depend on the others.
        """
        return 1 if self.precision == "int8" else VIDEO_BATCH

    def encode_frames(self, batches: Batches) -> Float[np.ndarray, "b e"]:
        """Return the vectors of batches of frames, uint8 [b, f, s, s, 3], and masks [b, f]."""

        def encode(frames: np.ndarray, frame_mask: np.ndarray) -> np.ndarray:
            return self._run("video", frames=frames, frame_mask=frame_mask)

        rows = (part for batch in batches for part in inputs.split_rows(self.video_batch, *batch))
        vectors = [encode(*part) for part in rows]
        return np.concatenate([np.zeros((0, self.arch.embed_dim), np.float32), *vectors])

    def embed_tokens(
        self, ids: Int[np.ndarray, "b n"], mask: Bool[np.ndarray, "b n"] | None = None
    ) -> Float[np.ndarray, "b e"]:
        """Embed texts that are already token ids, at most `max_words` each."""
        mark = MARKERS.get(self.arch.backbone)
        if mask is None and mark is None:
            raise ValueError(
                f"which ids of {self.arch.backbone} are text is not known without the model; "
                "give the mask, True up to the end of each text"
            )
        mark = mark or mark_to_end  # of no use beside a mask
        ids, mask = inputs.check_ids(ids, mask, self.arch.vocab_size, self.max_words, mark)
        fill = [(0, 0), (0, self.max_words - ids.shape[1])]
        size = 1 if self.precision == "int8" else TEXT_BATCH
        rows = inputs.split_rows(size, np.pad(ids, fill), np.pad(mask, fill))
        vectors = [self._run("text", ids=ids, mask=mask) for ids, mask in rows]
        return np.concatenate([np.zeros((0, self.arch.embed_dim), np.float32), *vectors])

    def embed_pixels(self, pixels: Any, frame_mask: Any = None) -> np.ndarray:
        """Raise a ValueError: an exported model takes frames, and normalises them itself."""
        raise ValueError(
            "an exported model takes uint8 frames, which it normalises itself; give them to "
            "embed_video"
        )

    def judge(self, text: str, videos: UInt8[np.ndarray, "b t h w 3"]) -> np.ndarray:
        """Raise a ValueError: the matching head of a network is not exported."""
        raise ValueError("an exported model compares vectors only; load the model itself to judge")

    def similarity(
        self, text: Float[np.ndarray, "n e"], video: Float[np.ndarray, "m e"]
    ) -> Float[np.ndarray, "n m"]:
        """Return the cosine of every text and every video times the scale of the loss."""
        video = np.asarray(video, np.float32)
        video = normalize(video) if self.about["unit_videos"] else video
        cosine = normalize(np.asarray(text, np.float32)) @ video.T
        return (np.float32(self.about["scale"]) * cosine).astype(np.float32)

    def save(self, file: str | os.PathLike, **options: Any) -> None:
        """Raise a ValueError: what was exported cannot be saved as a model again."""
        raise ValueError(f"{self.file} is an exported file; copy it, or save the model itself")

    def warm_up(self) -> None:
        """Open both towers."""
        for tower in TOWERS:
            self._open(tower)

    def _run(self, tower: str, **given: np.ndarray) -> np.ndarray:
        return np.asarray(self._open(tower).run(["vectors"], given)[0])

    def _open(self, tower: str) -> "onnxruntime.InferenceSession":
        if tower not in self._sessions:
            self._sessions[tower] = open_session(self._files[tower])
        return self._sessions[tower]


def read_file(file: Path) -> ExportedModel:
    """Return what an ONNX file says about its model."""
    try:
        metadata = read_metadata(file)
    except ValueError as error:
        raise NotExportedError(f"{error}; export the model again") from error
    return read_about(metadata.get(METADATA, ""), file)


def open_session(file: Path) -> "onnxruntime.InferenceSession":
    """Open one tower in ONNX Runtime, on the CPU.

    Raises:
        FileNotFoundError: if the file is not there.
        NotExportedError: if ONNX Runtime cannot open it.
    """
    runtime = require_package("onnxruntime")
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing; it lies beside that of the other tower")
    try:
        options = runtime.SessionOptions()
        if not has_exact_byte_products():
            options.add_session_config_entry("session.x64quantprecision", "1")
        # Threads that wait in a loop would take the cores from those that decode videos.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = runtime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own classes, which differ between versions
        raise NotExportedError(f"ONNX Runtime cannot open {file}: {error}") from error
    # ONNX Runtime lays the weights out anew; two thirds of those that it has read might stay.
    return_freed_memory()
    return session


def normalize(x: Float[np.ndarray, "b e"]) -> Float[np.ndarray, "b e"]:
    """Scale rows to length 1; rows of zeros stay zeros."""
    return x / np.sqrt(np.maximum((x * x).sum(axis=-1, keepdims=True), 1e-24))


def has_exact_byte_products() -> bool:
    """Return whether this CPU is known to add products of bytes in 32 bits (VNNI).

    Others may overflow in 16 bits, unless ONNX Runtime computes more slowly. It does so at half the
    speed, so it is asked to only where it is needed.
    """
    try:
        return "vnni" in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
