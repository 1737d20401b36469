"""Trains and evaluates: python -m tempme_jax.main --config=configs/msrvtt.py:tempme

Every setting of the config can be given on the command line: --config.train.batch_size=64
--config.model.options.rank=16. The same command goes on where an earlier one was stopped.
"""

import pathlib
import sys

from absl import app, flags, logging

from tempme_jax.checks import suggest
from tempme_jax.datasets.prepare import PreparationError
from tempme_jax.training.flags import SETTING, from_flags
from tempme_jax.training.loop import TrainingError
from tempme_jax.training.run import run
from tempme_jax.training.sharding import join_processes

# What goes wrong by what the user gave, or by what the data are: shown without a traceback.
USER_ERRORS = (ValueError, OSError, PreparationError, TrainingError)

CONFIG = flags.DEFINE_string(
    "config", None, "The settings, and behind a colon the method: configs/msrvtt.py:tempme."
)
WORKDIR = flags.DEFINE_string(
    "workdir", None, "The folder of the run. Default: workdir/<data set>-<method>-<seed>."
)
EVALUATE_ONLY = flags.DEFINE_bool(
    "evaluate_only", False, "Evaluate what was trained so far (or nothing), and do not train."
)
DISTRIBUTED = flags.DEFINE_bool(
    "distributed",
    False,
    "Join the processes of a cluster that JAX recognises (TPU pods, SLURM), or that "
    "--coordinator, --processes and --process name.",
)
COORDINATOR = flags.DEFINE_string("coordinator", None, "Host and port of the first process.")
PROCESSES = flags.DEFINE_integer("processes", None, "How many processes there are.")
PROCESS = flags.DEFINE_integer("process", None, "Which of them this is, from 0.")


def parse(words: list[str]) -> list[str]:
    """Reads the flags; gives back those that are for the config: its file, and single settings."""
    settings = [word for word in words if SETTING.match(word)]
    try:
        rest = flags.FLAGS([word for word in words if word not in settings])
    except flags.Error as error:
        sys.exit(f"Error: {error}; --help lists the flags")
    if rest[1:]:
        sys.exit(f"Error: unknown words: {' '.join(rest[1:])}; write --name=value")
    if not CONFIG.value:
        sys.exit("Error: --config is missing; name a file such as configs/msrvtt.py:tempme")
    file = pathlib.Path(CONFIG.value.partition(":")[0])
    if not file.is_file():
        hint = suggest(file, map(str, file.parent.glob("*.py")))
        sys.exit(f"Error: --config={CONFIG.value}: there is no file {file}{hint}")
    return [f"--config={CONFIG.value}", *settings]


def main(settings: list[str]) -> None:
    """Runs what the flags say."""
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)
    cluster = COORDINATOR.value, PROCESSES.value, PROCESS.value
    try:
        if DISTRIBUTED.value or any(value is not None for value in cluster):
            join_processes(*cluster)  # before anything else of JAX
        config = from_flags(settings)
        default = f"workdir/{config.data.name}-{config.model.method}-{config.seed}"
        run(config, WORKDIR.value or default, evaluate_only=EVALUATE_ONLY.value)
    except USER_ERRORS as error:
        if logging.level_debug():  # --verbosity=1
            raise
        sys.exit(f"Error: {error}")
    except KeyboardInterrupt:
        sys.exit("Interrupted; the same command goes on after the last checkpoint")


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
