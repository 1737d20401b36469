"""What the commands of `tempme bench` share: options, and how they report."""

import contextlib
import dataclasses
import json

import click

# Where click keeps what `report_progress` shows.
SHOWN = "tempme_jax.bench.shown"
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
BATCH = click.option(
    "--batch", type=click.IntRange(1), help="Videos in a call. Default: as for embedding."
)
ROUNDS = click.option("--rounds", type=click.IntRange(1), default=7, help="Calls of each model.")


def report_progress(message):
    """Say on standard error what is being done from now on, until the next message."""
    from tempme_jax.screen import show_work

    end_report()
    context = click.get_current_context()
    shown = context.meta[SHOWN] = contextlib.ExitStack()
    shown.enter_context(show_work(message))
    context.call_on_close(shown.close)  # also after an error


def end_report():
    """Say that what `report_progress` said last is done."""
    shown = click.get_current_context().meta.pop(SHOWN, None)
    if shown is not None:
        shown.close()


def print_figures(figures, as_json, print_table):
    """Print figures as JSON, or by a function that prints a table."""
    end_report()
    if as_json:
        click.echo(json.dumps(figures, indent=1, default=dataclasses.asdict))
    else:
        print_table()
