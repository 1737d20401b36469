"""`tempme doctor`: check the installation."""

import functools
import sys

import click


@click.command("doctor")
@click.option(
    "--index",
    "place",
    help="Also look at this index: its path, its folder of videos, or s3:// or gs://. Default: "
    "that of the current folder, if it has one.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def diagnose(place, as_json):
    """Check the installation.

    Prints what works, what is missing, and the command that fixes it: libraries, devices, caches,
    decoders and optional parts. Of an index it names the files that should be looked at again,
    since an older version read them. The exit code is 1 if something is missing that is needed.
    """
    from tempme_jax.doctor import index, report

    chosen = {"index": functools.partial(index.check_index, place)} if place else {}
    found = report.examine(report.PROBES | chosen)
    text = report.format_json(found) if as_json else report.format_text(found)
    encoding = sys.stdout.encoding or "utf-8"
    click.echo(text.encode(encoding, "backslashreplace").decode(encoding))
    sys.exit(0 if found.ready else 1)
