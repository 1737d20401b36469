"""`tempme config`: every setting of a run."""

import click

from tempme_jax.commands.group import CONFIG, OVERRIDES, PASSED_ON, PLUGIN


@click.command("config", context_settings=PASSED_ON)
@CONFIG
@PLUGIN
@OVERRIDES
def show_config(config, settings):
    """Print every setting that CONFIG resolves to.

    CONFIG is a file with a method, such as configs/msrvtt.py:tempme,b16, and SETTINGS are such as
    --config.train.batch_size=64. The output is Python that can be pasted into a config file.
    """
    from tempme_jax.training.flags import format_config, parse_flags

    click.echo(format_config(parse_flags([f"--config={config}", *settings])), nl=False)
