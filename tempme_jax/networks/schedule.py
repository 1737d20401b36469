"""How many clips and tokens every block works on: the one schedule.

The model takes its shapes from it, and whatever reports on the model (costs, tables, pictures,
tests) reads the same one.
"""

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tempme_jax.reducers.base import Reducer


@dataclasses.dataclass(frozen=True)
class Step:
    """What one block works on.

    Attributes:
        clips: sets of tokens that attend to themselves, per video.
        n_cls: class tokens of a clip, counted in the three below.
        attention: tokens of a clip in the attention.
        mlp: tokens of a clip in the MLP.
        out: tokens of a clip at the end of the block; None = as many as in the MLP.
        temporal: clips that a token sees in an attention across clips, before the block's own;
            0 = there is none.
    """

    clips: int
    n_cls: int
    attention: int
    mlp: int
    out: int | None = None
    temporal: int = 0

    def __post_init__(self):
        if self.out is None:
            object.__setattr__(self, "out", self.mlp)


def schedule(reducer: "Reducer", *, frames: int, tokens: int, depth: int) -> tuple[Step, ...]:
    """The steps of a tower of `depth` blocks on `frames` frames of `tokens` tokens.

    Raises:
        ValueError: if the reducer cannot work on these numbers; it names the layer and the numbers.
    """
    reducer.check(depth)
    steps = [Step(clips=frames, n_cls=1, attention=tokens, mlp=tokens)]
    for layer in range(depth):
        steps.append(reducer.step(layer, steps[-1]))
    return tuple(steps[1:])
