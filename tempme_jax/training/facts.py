"""What a training says of its model where the model goes: into files and model cards."""

import os

from tempme_jax.training.metrics import MEASURES
from tempme_jax.training.results import DIRECTIONS, ResultsError, read_results
from tempme_jax.weights.saved import TrainingFacts


def read_facts(workdir: str | os.PathLike, step: int) -> TrainingFacts | None:
    """Return what the results of a run say of the checkpoint of a step.

    It is None if there are no results yet, if they are damaged, or of another checkpoint. Nothing
    of them tells where files lie.
    """
    from tempme_jax.training.result_tables import describe_protocol  # which imports the console

    try:
        results = read_results(workdir)
    except (FileNotFoundError, ResultsError):
        return None
    if results["step"] != step:
        return None
    scores = {
        direction: {name: results[direction][name] for name in MEASURES}
        for direction in DIRECTIONS
        if direction in results
    }
    if "accuracy" in results:
        scores["answers"] = {"accuracy": results["accuracy"]}
    return {
        "dataset": results["dataset"],
        "measured": describe_protocol(results),
        "scores": scores,
        "seed": results["seed"],
        "step": results["step"],
    }
