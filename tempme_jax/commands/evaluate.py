"""`tempme evaluate`: measure a model on the data of a config."""

import os

import click

from tempme_jax.commands.group import OVERRIDES, PASSED_ON, PLUGIN


@click.command(context_settings=PASSED_ON)
@click.argument("model")
@click.option(
    "--config",
    required=True,
    help="Config of a data set, such as configs/lsmdc.py: the data and the protocol.",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False),
    help="Also write the results to this file, as JSON that tempme results can print.",
)
@click.option("--overwrite", is_flag=True, help="Replace the file if it exists.")
@PLUGIN
@OVERRIDES
def evaluate(model, config, output, overwrite, settings):
    """Measure MODEL on any data set; print the table.

    MODEL is the workdir of a training, a .safetensors file, a Hugging Face repository or a name
    such as tiny-tempme; it has its method, frames and words. Data and protocol come from the
    config, and SETTINGS change them, such as --config.data.test=validation. Plain CLIP weights are
    measured without training, with the config's frames and words; --config=configs/lsmdc.py:tome
    merges their tokens. Nothing is written to a workdir.
    """
    from tempme_jax.training.flags import parse_flags
    from tempme_jax.training.result_tables import print_found_options, print_results
    from tempme_jax.training.results import write_results
    from tempme_jax.training.standalone import evaluate_model, list_given

    if output and os.path.exists(output) and not overwrite:
        raise ValueError(f"{output} exists; give another name, or --overwrite")
    if output and not os.path.isdir(os.path.dirname(output) or "."):
        raise ValueError(f"there is no folder {os.path.dirname(output)} for {output}")
    flags = list(settings)
    found = evaluate_model(
        model, parse_flags([f"--config={config}", *flags]), list_given(config, flags)
    )
    if output:
        write_results(output, found)
    print_results([found])
    print_found_options(found["found"])
