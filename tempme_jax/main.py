"""Train and evaluate a method: python -m tempme_jax.main --config=configs/msrvtt.py:tempme

The command line can change every setting of the config: --config.train.batch_size=64
--config.model.options.rank=16. `tempme config` prints them. The same command resumes a run that was
stopped.
"""

import sys

from tempme_jax import heap
from tempme_jax.screen import show_work

if __name__ == "__main__":
    heap.share_one_heap()  # before any thread starts

# These imports take seconds; whoever waits for the program is told at once that it runs.
with show_work("Starting", quiet=__name__ != "__main__"):
    from absl import app, flags, logging

    from tempme_jax.plugins import load_plugin
    from tempme_jax.training.flags import SETTING, find_config_file, make_defaults, parse_flags
    from tempme_jax.training.hints import suggest_flag
    from tempme_jax.training.loop import TrainingError
    from tempme_jax.training.places import choose_workdir
    from tempme_jax.training.run import is_main_process, run
    from tempme_jax.training.sharding import join_processes
    from tempme_jax.training.tracking import SERVICES

# Errors caused by what the user gave, or by the data: shown without a traceback.
USER_ERRORS = (ValueError, OSError, TrainingError)

CONFIG = flags.DEFINE_string(
    "config", None, "The config file and the method, such as configs/msrvtt.py:tempme."
)
WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "The folder of the run. Default: workdir/<data>-<method>-<seed>; <data> is the data set, "
    "followed by the name and a hash of its folder unless that is data/<data set>.",
)
PLUGIN = flags.DEFINE_multi_string(
    "plugin", [], "A Python file, or a module, that adds methods or data sets; may be repeated."
)
LOG = flags.DEFINE_enum(
    "log", None, list(SERVICES), "Also send the curves and results to this service."
)
EVALUATE_ONLY = flags.DEFINE_bool(
    "evaluate_only", False, "Evaluate what was trained so far (or nothing), and do not train."
)
DISTRIBUTED = flags.DEFINE_bool(
    "distributed",
    False,
    "Join the other processes of a run: on a cluster that JAX recognises (TPU pods, SLURM), or "
    "as --coordinator, --processes and --process say.",
)
COORDINATOR = flags.DEFINE_string("coordinator", None, "Host and port of the first process.")
PROCESSES = flags.DEFINE_integer("processes", None, "Number of processes.")
PROCESS = flags.DEFINE_integer("process", None, "Number of this process, from 0.")


def parse(words: list[str]) -> list[str]:
    """Read the flags; return those for the config: its file, and single settings."""
    settings = [word for word in words if SETTING.match(word)]
    try:
        rest = flags.FLAGS([word for word in words if word not in settings])
    except flags.UnrecognizedFlagError as error:
        hint = suggest_flag(f"--{error.flagname}", make_defaults())
        hint = "" if "Did you mean" in str(error) else hint
        sys.exit(f"Error: {error}{hint}; --help lists the flags")
    except flags.Error as error:
        sys.exit(f"Error: {error}; --help lists the flags")
    if rest[1:]:
        unknown = " ".join(rest[1:])
        known = "--config=FILE" if unknown.partition(":")[0].endswith(".py") else "--name=value"
        sys.exit(f"Error: unknown words: {unknown}; write {known}")
    if not CONFIG.value:
        sys.exit("Error: --config is missing; name a file such as configs/msrvtt.py:tempme")
    try:
        find_config_file(CONFIG.value.partition(":")[0])
    except FileNotFoundError as error:
        sys.exit(f"Error: --config={CONFIG.value}: {error}")
    return [f"--config={CONFIG.value}", *settings]


def main(settings: list[str]) -> None:
    """Run training and evaluation with the settings of the flags."""
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)
    cluster = COORDINATOR.value, PROCESSES.value, PROCESS.value
    try:
        if DISTRIBUTED.value or any(value is not None for value in cluster):
            join_processes(*cluster)  # must come before any other use of JAX
        for plugin in PLUGIN.value:
            load_plugin(plugin)
        config = parse_flags(settings)
        workdir = WORKDIR.value or choose_workdir(config)
        if not WORKDIR.value and is_main_process():
            print(f"Workdir: {workdir}", file=sys.stderr)
        run(config, workdir, evaluate_only=EVALUATE_ONLY.value, log=LOG.value)
    except USER_ERRORS as error:
        if logging.level_debug():  # --verbosity=1
            raise
        sys.exit(f"Error: {error}")
    except KeyboardInterrupt:
        sys.exit("Interrupted; the same command resumes after the last checkpoint")


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
