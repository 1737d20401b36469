"""What a run is: every setting with its default and its meaning.

The files in `configs/` fill these in, and `config` checks what they give.
"""

import dataclasses
import json
from typing import Any

SAMPLING = ("uniform", "repeat", "random_segment")
AUGMENTATION = ("none", "randaugment")
BATCHES = ("distinct", "shuffle")
SCHEDULES = ("cosine", "constant")
DTYPES = ("float32", "bfloat16")
SELECTION = ("validation", "test", "last")


@dataclasses.dataclass(frozen=True)
class DataSettings:
    """Which data set, and which of its frames are stored.

    Attributes:
        name: a name of `DATASETS`.
        variant: of the set, such as "9k" of MSR-VTT; empty = its first.
        root: the folder with the user's annotations/ and videos/; empty = data/<name>.
        prepared: the folder for prepared data.
        size: side of the stored frames in pixels, resized and cropped as CLIP does.
        fps: frames stored of every second; None: `least` frames, evenly spread.
        least, most: frames stored of a video, at least (if it has them) and at most.
        train, validation, test: the splits for each; several are joined by "+".
        missing: "error" or "skip": what to do about listed videos that are not there.
        max_bad: the share of videos that may be unreadable before preparation fails.
        decoders: processes that decode videos in preparation; 0 = one for every core.
        workers: processes that read frames in training; 0 = threads of this one.
    """

    name: str = "msrvtt"
    variant: str = ""
    root: str = ""
    prepared: str = "data/prepared"
    size: int = 224
    fps: float | None = 1.0
    least: int = 12
    most: int = 64
    train: str = "train"
    validation: str = "validation"
    test: str = "test"
    missing: str = "error"
    max_bad: float = 0.01
    decoders: int = 0
    workers: int = 0


@dataclasses.dataclass(frozen=True)
class ModelSettings:
    """Which model.

    Attributes:
        weights: a Hugging Face repository, a folder or a file, as `tempme_jax.load` takes it;
            empty = random weights of `architecture`.
        architecture: sizes of a model with random weights: fields of `Architecture`.
        activation: of the MLPs, where the file of weights does not say it.
        method: a name of `METHODS`, or two of them that are joined by a "+".
        options: of the method: fields of its adapter and reducer; None = the paper's.
        num_frames: of every video.
        max_words: ids of every text, start and end included.
        dtype: of the activations, "float32" or "bfloat16".
        remat: whether blocks are computed again in the backward pass instead of kept.
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
    """How it trains (specification: TempMe's recipe; those of other methods: configs/common.py).

    Attributes:
        batch_size: pairs of a step, over all devices.
        epochs: passes over the captions; `steps` in their place, if not 0.
        steps: steps in all; 0 = by `epochs`.
        batches: "distinct": no text and no video twice in a batch, hard negatives together;
            "shuffle": captions in random order, as published.
        frame_sampling: "uniform" (the middles of equal spans; what is missing is masked),
            "repeat" (the same, frames repeat; as published), "random_segment".
        augmentation: "none" or "randaugment" (as the published code does, the paper does not say).
        learning_rate, warmup: the peak, and the share of the steps that it takes to get there.
        schedule: of the rate after that: "cosine" (half of one) or "constant".
        final_rate: where the cosine ends, as a share of the peak, 0 to 1.
        weight_decay, b1, b2, eps, clip_norm: of AdamW; clip_norm 0 = gradients as they are.
        decay_biases: whether the arrays that are named "bias" decay, too.
        temperature: the loss takes cosines divided by it; 0 = CLIP's, exp(-logit_scale).
        gradient_cache: videos that are differentiated at once; 0 = the whole batch. Less memory,
            the same gradients.
        log_every, evaluate_every, checkpoint_every: steps; 0 = at the end only.
    """

    batch_size: int = 128
    epochs: int = 5
    steps: int = 0
    batches: str = "shuffle"
    frame_sampling: str = "repeat"
    augmentation: str = "randaugment"
    learning_rate: float = 6e-4
    warmup: float = 0.1
    schedule: str = "cosine"
    final_rate: float = 0.0
    weight_decay: float = 0.2
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-6
    clip_norm: float = 1.0
    decay_biases: bool = True
    temperature: float = 0.0
    gradient_cache: int = 0
    log_every: int = 10
    evaluate_every: int = 150
    checkpoint_every: int = 150


@dataclasses.dataclass(frozen=True)
class EvaluateSettings:
    """How it is evaluated.

    Attributes:
        batch_size: videos at once, over all devices.
        frame_sampling: "uniform" or "repeat".
        ties: how equal similarities rank, see `tempme_jax.training.metrics`.
        select_on: which checkpoint is kept as the best: by R-Sum on "validation", on "test" (as
            published; the numbers are then not those of unseen data), or the "last".
        dual_softmax, qb_norm: re-weighting of the similarities; both need more than the query.
        draws: of the bootstrap, for the confidence intervals.
    """

    batch_size: int = 32
    frame_sampling: str = "repeat"
    ties: str = "average"
    select_on: str = "validation"
    dual_softmax: bool = False
    qb_norm: bool = False
    draws: int = 1000


@dataclasses.dataclass(frozen=True)
class MeshSettings:
    """How devices are used: `data` x `model` of them; -1 = all that are left.

    Attributes:
        data: the batch is split over these.
        model: frozen kernels are split over these.
    """

    data: int = -1
    model: int = 1


@dataclasses.dataclass(frozen=True)
class Config:
    """A run.

    Attributes:
        data, model, train, evaluate, mesh: see there.
        seed: of the order of the data, the augmentation and what is learned.
        profile: steps of which a profiler trace is written, from the tenth on; 0 = none.
    """

    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    train: TrainSettings = TrainSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    mesh: MeshSettings = MeshSettings()
    seed: int = 42
    profile: int = 0

    def as_json(self) -> dict[str, Any]:
        """What JSON can hold, equal for equal settings."""
        return json.loads(json.dumps(dataclasses.asdict(self)))


PARTS = {
    "data": DataSettings,
    "model": ModelSettings,
    "train": TrainSettings,
    "evaluate": EvaluateSettings,
    "mesh": MeshSettings,
}
