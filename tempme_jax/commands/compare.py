"""`tempme compare` and `tempme results`: tables of finished runs."""

import sys

import click

from tempme_jax.commands.group import CONFIG, OVERRIDES, PASSED_ON


@click.command(context_settings=PASSED_ON)
@CONFIG
@click.option("--methods", help="Separated by commas, or all. Default: lora,tome,tempme.")
@click.option(
    "--seeds", type=click.IntRange(1), default=3, show_default=True, help="Runs of each method."
)
@click.option(
    "--data",
    type=click.Path(dir_okay=False),
    help="Config of a data set, if CONFIG is a table. Default: the built-in set.",
)
@click.option(
    "--recipe",
    type=click.Choice(["own", "shared", "single"]),
    help="Each method's own training recipe, or one for all. Default: the data set's.",
)
@click.option(
    "--workdir",
    type=click.Path(file_okay=False),
    help="Folder for the runs. Default: workdir/compare-<config>.",
)
@click.option(
    "--speeds/--no-speeds",
    default=True,
    help="Also measure how fast videos are encoded. Default: yes.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Most runs at the same time; fewer while memory is short.",
)
@OVERRIDES
def compare(config, methods, seeds, data, recipe, workdir, speeds, jobs, settings):
    """Train methods with several seeds; print one table.

    CONFIG is a data set, such as configs/moving_shapes.py, or a table of the paper, such as
    configs/tables/table2.py; a table's own figures are printed beside ours. SETTINGS such as
    --config.train.steps=100 apply to all runs. Each run is a process of its own. Run the command
    again to continue: finished runs are kept, interrupted ones resume.
    """
    from tempme_jax.compare import runs
    from tempme_jax.compare.contenders import choose_contenders

    config, contenders, name = choose_contenders(config, methods, data, recipe)
    workdir = workdir or f"workdir/compare-{name}"
    code = runs.run(
        config, contenders, seeds, workdir=workdir, overrides=settings, speeds=speeds, jobs=jobs
    )
    sys.exit(code)


@click.command("results")
@click.argument("workdirs", nargs=-1, required=True, type=click.Path())
def show_results(workdirs):
    """Print the results of finished runs in one table."""
    from tempme_jax.training.result_tables import print_results
    from tempme_jax.training.results import read_results

    print_results([read_results(workdir) for workdir in workdirs])
