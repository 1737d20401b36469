"""The schedule: the counts of clips and tokens in every block.

The model takes its shapes from it. Costs, tables, pictures and tests read the same schedule.
"""

from tempme_jax.networks.tokens import Stage
from tempme_jax.reducers.base import Reducer, require_class_token


def make_schedule(
    reducer: Reducer, *, frames: int, tokens: int, depth: int, n_cls: int = 1
) -> tuple[Stage, ...]:
    """Return the stage of every block of the video tower.

    Args:
        reducer: the reducer, with every option set (see `Reducer.resolve`).
        frames: number of frames of a video.
        tokens: tokens of a frame that enter the first block: patches and class tokens.
        depth: number of blocks.
        n_cls: number of class tokens of a frame.

    Raises:
        ValueError: if the reducer cannot work on these numbers; it names the block and the numbers.

    >>> from tempme_jax.reducers.tome import ToMe
    >>> [stage.out for stage in make_schedule(ToMe(r=2), frames=12, tokens=50, depth=3)]
    [48, 46, 44]
    """
    require_class_token(reducer, n_cls)
    reducer.check(depth)
    stages = [Stage(clips=frames, n_cls=n_cls, attention=tokens, mlp=tokens)]
    for layer in range(depth):
        stages.append(reducer.stage(layer, stages[-1]))
    return tuple(stages[1:])
