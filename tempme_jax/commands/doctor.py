"""`tempme doctor`: check the installation."""

import sys

import click


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def diagnose(as_json):
    """Check the installation.

    Prints what works, what is missing, and the command that fixes it: libraries, devices, caches,
    decoders and optional parts. The exit code is 1 if something is missing that is needed.
    """
    from tempme_jax.doctor import report as doctor

    report = doctor.examine()
    text = doctor.format_json(report) if as_json else doctor.format_text(report)
    encoding = sys.stdout.encoding or "utf-8"
    click.echo(text.encode(encoding, "backslashreplace").decode(encoding))
    sys.exit(0 if report.ready else 1)
