"""The settings of a run, each with its default and its meaning.

The files in `configs/` change these defaults; `tempme_jax.training.flags` checks the result.
"""

import dataclasses
import json
from typing import Any, Literal, TypeVar

from tempme_jax.training.metrics import Rivals, Ties

T = TypeVar("T")


def let_change(default: T) -> T:
    """Declare a setting that a later attempt may change: it does not change what is computed."""
    return dataclasses.field(default=default, metadata={"may_change": True})


@dataclasses.dataclass(frozen=True)
class DataSettings:
    """The data set, and which of its frames are stored.

    Attributes:
        name: a name of `tempme_jax.datasets.DATASETS`.
        variant: variant of the set, such as "9k" of MSR-VTT; empty = its first.
        root: the folder with the user's annotations/ and videos/; empty = data/<name>.
        prepared: the folder for prepared data; empty = data/prepared, in which data of another
            root than data/<name> have a folder of their own.
        size: side of the stored frames in pixels.
        resize: how a frame becomes a square, which must be the model's way: "crop" (the short side
            is resized and the middle cropped, as CLIP does) or "squash" (both sides are resized;
            "squash_bilinear" the same, as SigLIP 2 does).
        fps: frames stored for every second; None: `least` frames, evenly spread.
        least, most: frames stored for a video, at least (if it has them) and at most.
        train, validation, test: the split for each purpose; several are joined by "+".
        missing: what to do about listed videos that are not there: "error" or "skip" them.
        max_bad: the share of videos that may be unreadable before preparation fails.
        decoders: processes that decode videos in preparation; 0 = one for every core.
        workers: processes that read frames in training; 0 = threads of the training process.
    """

    name: str = "msrvtt"
    variant: str = ""
    root: str = let_change("")
    prepared: str = let_change("")
    size: int = 224
    resize: Literal["crop", "squash", "squash_bilinear"] = "crop"
    fps: float | None = 1.0
    least: int = 12
    most: int = 64
    train: str = "train"
    validation: str = "validation"
    test: str = "test"
    missing: Literal["error", "skip"] = let_change("error")
    max_bad: float = let_change(0.01)
    decoders: int = let_change(0)
    workers: int = let_change(0)


@dataclasses.dataclass(frozen=True)
class ModelSettings:
    """The model that is trained.

    Attributes:
        weights: a Hugging Face repository, a folder or a file, as `tempme_jax.load` takes it;
            empty = random weights of `architecture`.
        architecture: sizes of a model with random weights: fields of `Architecture`. Of them, only
            `backbone` also counts for `weights`: "umt-qa" opens pretrained ones of UMT for
            question answering; None = what the file is of.
        activation: activation of the MLPs, if the file of weights does not name it.
        method: a name of `METHODS`, or two of them joined by a "+".
        options: options of the method: fields of its adapter and reducer; None = the paper's.
        num_frames: frames of every video.
        max_words: token ids of every text, start and end included.
        dtype: dtype of the activations, "float32" or "bfloat16".
        remat: whether the backward pass computes blocks again instead of keeping them.
    """

    weights: str = "openai/clip-vit-base-patch32"
    architecture: dict[str, Any] = dataclasses.field(default_factory=dict)
    activation: str | None = None
    method: str = "tempme"
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    num_frames: int = 12
    max_words: int = 32
    dtype: str = "float32"
    remat: bool = False


@dataclasses.dataclass(frozen=True)
class TrainSettings:
    """The training recipe; the defaults are TempMe's. Other methods': configs/common.py.

    Attributes:
        batch_size: pairs of a step, over all devices.
        epochs: passes over the captions; ignored if `steps` is not 0.
        steps: steps in all; 0 = as many as `epochs` take.
        batches: "distinct": no text and no video twice in a batch, hard negatives together;
            "shuffle": captions in random order, as published.
        frame_sampling: "uniform": the middles of equal spans, missing frames are masked;
            "repeat": the same, but a short video repeats frames, as published;
            "random_segment": a random frame of each span; "umt_random": the same as UMT does it,
            see `batches.sample_frames`.
        augmentation: "none"; "randaugment", which the published code uses and the paper does not
            mention; or "umt": a random part of the frames, and a flip.
        learning_rate: the peak of the learning rate.
        warmup: the share of the steps in which the rate rises from 0 to its peak.
        schedule: the rate after that: "cosine" (half a cosine down) or "constant".
        final_rate: where the cosine ends, as a share of the peak, 0 to 1.
        least_rate: the rate is never smaller than this share of the peak, 0 to 1.
        optimizer: "tempme": AdamW as in the published code; "adamw": that of PyTorch and Optax.
        weight_decay, b1, b2, eps: parameters of AdamW, see `optim.make_optimizer`.
        clip_norm: largest global norm of the gradients; 0 = they are not clipped.
        decay_biases: whether weight decay also applies to arrays named "bias".
        decay_vectors: whether it also applies to arrays of one dimension.
        drop_path: stochastic depth of the video tower's last block, see `networks.block.Block`.
        dropout: share of activations that UMT's text tower drops.
        vtc_weight: UMT: weight of the contrastive loss beside the matching loss. Published training
            on 8 devices has gradients as with 1/8.
        negative_group: UMT: pairs among which wrong partners are drawn for the matching loss, as on
            one device of the published training; 0 = the whole batch.
        temperature: the loss divides cosines by it; 0 = the network's own.
        pooling: how texts and videos are compared: "mean", by the mean of the frames' vectors; or
            "text", by late interaction, in which frames count the more, the more they are like the
            text. The model remembers it.
        tau: for "text", the initial temperature of late interaction, which is learned.
        gradient_cache: videos that are differentiated at once; 0 = the whole batch. Fewer take
            less memory and give the same gradients.
        dial: "off": every step merges as the method's options say; "random": each step merges by
            one of a few schedules, so quality falls slowly when the model is used at other speeds.
            Evaluation merges as the options say.
        dial_strengths: for "random", how many times as many tokens a schedule merges, such as 1
            for as the options say. Each is a program of its own to compile.
        log_every, evaluate_every, checkpoint_every: steps in between; 0 = at the end only.
    """

    batch_size: int = 128
    epochs: int = 5
    steps: int = 0
    batches: Literal["distinct", "shuffle"] = "shuffle"
    frame_sampling: Literal["uniform", "repeat", "random_segment", "umt_random"] = "repeat"
    augmentation: Literal["none", "randaugment", "umt"] = "randaugment"
    learning_rate: float = 6e-4
    warmup: float = 0.1
    schedule: Literal["cosine", "constant"] = "cosine"
    final_rate: float = 0.0
    least_rate: float = 0.0
    optimizer: Literal["tempme", "adamw"] = "tempme"
    weight_decay: float = 0.2
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-6
    clip_norm: float = 1.0
    decay_biases: bool = True
    decay_vectors: bool = True
    drop_path: float = 0.0
    dropout: float = 0.0
    vtc_weight: float = 0.125
    negative_group: int = 32
    temperature: float = 0.0
    pooling: Literal["mean", "text"] = "mean"
    tau: float = 0.1
    gradient_cache: int = 0
    dial: Literal["off", "random"] = "off"
    dial_strengths: tuple[float, ...] = (1.0, 1.5, 2.0, 4.0)
    log_every: int = let_change(10)
    evaluate_every: int = 150
    checkpoint_every: int = let_change(150)


@dataclasses.dataclass(frozen=True)
class EvaluateSettings:
    """The evaluation protocol.

    Attributes:
        batch_size: videos embedded at once, over all devices.
        frame_sampling: as in training; frames are not drawn at random here. "shuffled": those of
            "uniform" in random order, which shows what a model knows without their order. "umt":
            the middles of UMT's spans; a short video repeats its last frame.
        ties: how equal similarities rank, see `tempme_jax.training.metrics`.
        rivals: where videos have several captions, what those of a video are ranked among: all
            "captions" of other videos, or, as CLIP4Clip does, the best one of each of these
            "videos".
        select_on: the best checkpoint has the largest R-Sum on "validation" or on "test" (as
            published; its numbers are then not those of unseen data); "last": the last one is
            taken.
        select_by: what is largest for the best checkpoint: "R-Sum" from text to video, or "r_mean",
            the mean of R@1, R@5 and R@10 in both directions. A model that answers questions is
            selected by its accuracy.
        tau: texts are compared with the frames of videos, by late interaction with this
            temperature; 0 = as the model was trained.
        rerank: so many best videos of a text, and texts of a video, are ranked again by the
            matching head of UMT; 0 = none.
        dual_softmax, qb_norm: re-weighting of the similarities; both need more than the query.
        candidates: answers of the list that are scored whole for a question: those whose first id
            is most probable.
        draws: bootstrap draws for the confidence intervals.
    """

    batch_size: int = let_change(32)
    frame_sampling: Literal["uniform", "repeat", "shuffled", "umt"] = "repeat"
    ties: Ties = "average"
    rivals: Rivals = "captions"
    select_on: Literal["validation", "test", "last"] = "validation"
    select_by: Literal["R-Sum", "r_mean"] = "R-Sum"
    tau: float = 0.0
    rerank: int = 0
    dual_softmax: bool = let_change(False)
    qb_norm: bool = let_change(False)
    candidates: int = let_change(128)
    draws: int = let_change(1000)


@dataclasses.dataclass(frozen=True)
class MeshSettings:
    """The mesh of devices, `data` x `model`; one of the two may be -1: all devices that are left.

    Attributes:
        data: devices that a batch is split over.
        model: devices that large frozen kernels are split over.
    """

    data: int = let_change(-1)
    model: int = let_change(1)


@dataclasses.dataclass(frozen=True)
class Config:
    """All settings of a run.

    Attributes:
        data, model, train, evaluate, mesh: the parts, see their classes.
        seed: seed of the order of the data, the augmentation and the initial learned weights.
        plugins: the plugins that the method and the data set come from, as the user gave them.
        profile: number of steps in the profiler trace, from the tenth on; 0 = no trace.
    """

    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    train: TrainSettings = TrainSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    mesh: MeshSettings = MeshSettings()
    seed: int = 42
    plugins: tuple[str, ...] = let_change(())
    profile: int = let_change(0)

    def to_json(self) -> dict[str, Any]:
        """Return values that JSON can hold, equal for equal settings."""
        values = json.loads(json.dumps(dataclasses.asdict(self)))
        if not self.plugins:  # as in the settings of earlier versions
            del values["plugins"]
        return values


# The parts of a config by their names, such as "train": TrainSettings.
PARTS: dict[str, type] = {
    field.name: field.type
    for field in dataclasses.fields(Config)
    if isinstance(field.type, type) and dataclasses.is_dataclass(field.type)
}


def list_changeable() -> set[str]:
    """Return the paths of the settings that a later attempt may change, such as "mesh.data"."""
    parts = {"": Config} | {f"{name}.": kind for name, kind in PARTS.items()}
    return {
        prefix + field.name
        for prefix, kind in parts.items()
        for field in dataclasses.fields(kind)
        if field.metadata.get("may_change")
    }
