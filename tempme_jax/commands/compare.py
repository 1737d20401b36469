"""`tempme compare` and `tempme results`: tables of finished runs."""

import sys

import click

from tempme_jax.commands.group import CONFIG, OVERRIDES, PASSED_ON, PLUGIN


@click.command(context_settings=PASSED_ON)
@CONFIG
@PLUGIN
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
@click.option(
    "--grid",
    multiple=True,
    metavar="SETTING=VALUES",
    help="Also vary a setting, such as train.learning_rate=1e-4,6e-4; several make every "
    "combination.",
)
@click.option(
    "--log", type=click.Choice(["wandb"]), help="Also send curves and results to this service."
)
@OVERRIDES
def compare(config, methods, seeds, data, recipe, workdir, speeds, jobs, grid, log, settings):
    """Train methods with several seeds; print one table.

    CONFIG is a data set, such as configs/moving_shapes.py or its harder variant
    configs/moving_shapes.py:hard, or a table of the paper, such as configs/tables/table2.py; a
    table's own figures are printed beside ours. SETTINGS such as
    --config.train.steps=100 apply to all runs. Each run is a process of its own. Run the command
    again to continue: finished runs are kept, interrupted ones resume.
    """
    from tempme_jax.compare import runs
    from tempme_jax.compare.contenders import choose_contenders
    from tempme_jax.compare.grid import expand
    from tempme_jax.training.tracking import require_service

    require_service(log)
    config, contenders, name = choose_contenders(config, methods, data, recipe)
    contenders = expand(contenders, grid, settings)
    workdir = workdir or f"workdir/compare-{name}"
    code = runs.run(
        config, contenders, seeds, workdir=workdir, overrides=settings, speeds=speeds, jobs=jobs,
        log=log,
    )  # fmt: skip
    sys.exit(code)


@click.command("results")
@click.argument("workdirs", nargs=-1, required=True, type=click.Path())
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["table", "latex", "md", "csv", "json"]),
    default="table",
    show_default=True,
    help="table: a line for each run. The others: a row for each method, with mean and standard "
    "deviation over seeds, both directions, the best in bold; csv and json hold all digits.",
)
@click.option(
    "--paper",
    type=click.IntRange(1),
    multiple=True,
    metavar="TABLE",
    help="With another format than table: add the rows of this table of the paper, such as 2.",
)
def show_results(workdirs, file_format, paper):
    """Print the results of finished runs in one table.

    WORKDIRS are folders of runs, folders of comparisons, and files that tempme evaluate wrote.
    """
    from tempme_jax.compare import formats, sheets
    from tempme_jax.training.result_tables import print_results

    if paper and file_format == "table":
        raise click.UsageError("--paper needs --format latex, md, csv or json")
    results = sheets.gather_results(workdirs)
    if file_format == "table":
        print_results(results)
        return
    text = formats.FORMATS[file_format](sheets.make_sheets(results, paper))
    click.echo(text, nl=False)
