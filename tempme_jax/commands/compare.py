"""`tempme compare` and `tempme results`: tables of finished runs."""

import sys

import click

from tempme_jax.commands.group import CONFIG, OVERRIDES, PASSED_ON


@click.command(context_settings=PASSED_ON)
@CONFIG
@click.option(
    "--methods", help="By commas, or all. Default: lora,tome,tempme; of a table: its own."
)
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="How many.")
@click.option(
    "--data",
    type=click.Path(dir_okay=False),
    help="For a table: config of the data set. Default: the built-in set.",
)
@click.option(
    "--recipe",
    type=click.Choice(["own", "shared"]),
    help="Every method's own, or one for all. Default: as the config of the data set does.",
)
@click.option(
    "--workdir", type=click.Path(file_okay=False), help="Default: workdir/compare-<config>."
)
@click.option("--speeds/--no-speeds", default=True, help="Measure encoding, too. Default: yes.")
@OVERRIDES
def compare(config, methods, seeds, data, recipe, workdir, speeds, settings):
    """Train methods with several seeds; print one table.

    Each is trained and evaluated in a process of its own, and a plot is saved, too. CONFIG is that
    of a data set, such as configs/moving_shapes.py, or a table of the paper, such as
    configs/tables/table2.py, whose figures are printed beside. SETTINGS such as
    --config.train.steps=100 hold for all. What was finished before in the same workdir is not run
    again; what was interrupted goes on.
    """
    from tempme_jax.compare import runs as comparison
    from tempme_jax.compare import tables

    config, entries, name = tables.chosen(config, methods, data, recipe)
    workdir = workdir or f"workdir/compare-{name}"
    code = comparison.run(
        config, entries, seeds, workdir=workdir, overrides=settings, speeds=speeds
    )
    sys.exit(code)


@click.command("results")
@click.argument("workdirs", nargs=-1, required=True, type=click.Path())
def show_results(workdirs):
    """Print the results of finished runs in one table."""
    from tempme_jax.training.printing import print_results
    from tempme_jax.training.results import read_results

    print_results([read_results(workdir) for workdir in workdirs])
