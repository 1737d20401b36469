"""The command `tempme bench dial`: one model at many speeds."""

import os

import click

from tempme_jax.commands.bench_shared import (
    AS_JSON,
    BATCH,
    end_report,
    print_figures,
    report_progress,
)
from tempme_jax.commands.group import PASSED_ON, PLUGIN, refuse_mistyped


@click.command("dial", context_settings=PASSED_ON)
@click.argument(
    "words",
    nargs=-1,
    type=click.UNPROCESSED,
    callback=refuse_mistyped,
    metavar="[MODELS]... [SETTINGS]...",
)
@click.option(
    "--config",
    help="Config of a data set, such as configs/msrvtt.py: the data and the protocol. Default: the "
    "built-in set, of which `tempme data samples` writes the videos.",
)
@click.option(
    "--settings",
    multiple=True,
    metavar="OPTIONS",
    help="Options of a setting, such as 'r=4 R_C=0.5 R_I=0.8', or 'r=8-4-2' for the numbers of the "
    "blocks; may be given several times. Default: a ladder from slow to fast.",
)
@BATCH
@click.option(
    "--plot", type=click.Path(dir_okay=False), help="Draw recall over seconds to this PNG file."
)
@click.option(
    "--save", is_flag=True, help="Keep the speeds in your cache, for `tempme index --speed`."
)
@PLUGIN
@AS_JSON
def bench_dial(words, config, settings, batch, plot, save, as_json):
    """Measure one model at many speeds.

    MODELS, by default tiny-tempme, and SETTINGS, such as --config.data.test=validation, are as for
    `tempme evaluate`. Each model runs with other options of
    its reducer than it was trained with: merging fewer tokens or more. Prints the speeds, as a
    multiple of the trained setting's and of the plain backbone's, the recalls, and how far the
    vectors move. All settings of a model take turns, so their ratios hold on a busy machine.
    """
    if plot and not os.path.isdir(os.path.dirname(plot) or "."):
        raise ValueError(f"there is no folder {os.path.dirname(plot)} for {plot}")
    report_progress("Starting")
    from tempme_jax.bench import dial, dial_page
    from tempme_jax.dial import parse_options
    from tempme_jax.training.flags import parse_flags
    from tempme_jax.training.standalone import list_given

    models = [word for word in words if not word.startswith("-")] or ["tiny-tempme"]
    flags = [word for word in words if word.startswith("-")]
    asked = [parse_options(one) for one in settings]
    config = config or dial.SAMPLES
    curves = dial.measure_dials(
        list(dict.fromkeys(models)),
        parse_flags([f"--config={config}", *flags]),
        list_given(config, flags),
        settings=asked,
        batch=batch,
        report=report_progress,
    )
    end_report()
    if plot:
        dial_page.plot_curves(curves, plot)

    def print_tables():
        for curve in curves:
            dial_page.print_curve(curve)

    print_figures(curves, as_json, print_tables)
    if save:
        from tempme_jax.search.speeds import keep_curve

        for curve in curves:
            click.echo(f"Kept in {click.format_filename(keep_curve(curve))}", err=True)
