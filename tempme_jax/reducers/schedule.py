"""How many clips and tokens every block works on: the one schedule.

The model takes its shapes from it, and whatever reports on the model (costs, tables, pictures,
tests) reads the same one.
"""

from tempme_jax.networks.tokens import Stage
from tempme_jax.reducers.base import Reducer


def schedule(reducer: Reducer, *, frames: int, tokens: int, depth: int) -> tuple[Stage, ...]:
    """The stages of a tower of `depth` blocks on `frames` frames of `tokens` tokens.

    Raises:
        ValueError: if the reducer cannot work on these numbers; it names the layer and the numbers.
    """
    reducer.check(depth)
    stages = [Stage(clips=frames, n_cls=1, attention=tokens, mlp=tokens)]
    for layer in range(depth):
        stages.append(reducer.stage(layer, stages[-1]))
    return tuple(stages[1:])
