"""Training with the dial turned at random: each step merges as one of a few schedules does."""

import dataclasses
import sys

import numpy as np

from tempme_jax.dial import change_schedule, describe_options, fit_options
from tempme_jax.networks.network import Network
from tempme_jax.training.config import TrainSettings
from tempme_jax.training.objectives.base import Objective
from tempme_jax.training.step import TrainState


class DialedObjectives:
    """The objectives of a training: one for each schedule that its steps choose from.

    Which one a step takes depends only on its number and the seed, so all processes take the same,
    and a training that resumes does, too. Each is compiled once, when it is first taken.
    """

    def __init__(self, objective: Objective, settings: TrainSettings, num_frames: int, seed: int):
        """Make them; without a dial it is the objective alone."""
        self._seed, self._step = seed, -1
        self.options = list_schedules(objective.network, num_frames, settings)
        self.objectives = [
            dataclasses.replace(
                objective, network=change_schedule(objective.network, num_frames, options)
            )
            for options in self.options
        ] or [objective]

    def describe(self) -> None:
        """Say what steps choose from, on standard error."""
        if self.options:
            listed = "; ".join(map(describe_options, self.options))
            print(
                f"Each step merges by one of {len(self.options)} schedules, drawn by its number; "
                f"each is compiled when it first comes: {listed}. Evaluation takes the model's own",
                file=sys.stderr,
            )

    def take(self, state: TrainState) -> Objective:
        """Return the objective of the next step; the states must be those of successive steps."""
        if len(self.objectives) == 1:
            return self.objectives[0]
        if self._step < 0:  # read once, since reading waits for the device
            self._step = int(np.asarray(state.step))
        chosen = choose_schedule(self._seed, self._step, len(self.objectives))
        self._step += 1
        return self.objectives[chosen]


def list_schedules(network: Network, num_frames: int, settings: TrainSettings) -> list[dict]:
    """Return the options of the reducer that steps choose from; empty if the dial is off.

    Raises:
        ValueError: if the reducer has no dial, or cannot merge so strongly.
    """
    if settings.dial == "off":
        return []
    found = [fit_options(network, num_frames, one) for one in settings.dial_strengths]
    for strength, options in zip(settings.dial_strengths, found, strict=True):
        if not network.reducer.scale(1.0):
            raise ValueError(
                f"train.dial={settings.dial!r} changes how strongly tokens merge, which the "
                "method has no option for; take tempme, tome, testa or evit, or set it to 'off'"
            )
        if not options:
            raise ValueError(
                f"train.dial_strengths holds {strength:g}: with so many times as many tokens "
                "merged no schedule is possible; leave it out"
            )
    return found


def choose_schedule(seed: int, step: int, count: int) -> int:
    """Return which of `count` schedules a step takes, which is counted from 0.

    >>> [choose_schedule(42, step, 4) for step in range(8)]
    [0, 2, 0, 3, 1, 1, 2, 1]
    """
    return int(np.random.default_rng((seed, step)).integers(count))
