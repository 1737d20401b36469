"""`tempme doctor`: what works on this machine."""

import sys

import click


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print an object of JSON.")
def show_doctor(as_json):
    """Say what is ready here, and what is missing.

    Libraries, devices, caches, decoders and optional parts, with the command that gets what is
    missing. Ends with exit code 1 if that is something that is needed.
    """
    from tempme_jax import doctor

    report = doctor.examine()
    text = doctor.as_json(report) if as_json else doctor.as_text(report)
    encoding = sys.stdout.encoding or "utf-8"
    click.echo(text.encode(encoding, "backslashreplace").decode(encoding))
    sys.exit(0 if report.ready else 1)
