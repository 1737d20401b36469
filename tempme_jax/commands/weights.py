"""`tempme convert`: files of weights."""

import click


@click.command()
@click.argument("source")
@click.argument("target", type=click.Path(dir_okay=False))
@click.option(
    "--activation",
    type=click.Choice(["quick_gelu", "gelu"]),
    help="Activation of the MLPs. Default: what SOURCE or a config beside it tells; else "
    "quick_gelu, with a line that says so.",
)
@click.option(
    "--layout",
    type=click.Choice(
        [
            "tempme_jax",
            "openai",
            "huggingface",
            "published",
            "umt",
            "umt_retrieval",
            "umt_qa",
            "siglip",
        ]  # fmt: skip
    ),
    help="Names and shapes of the arrays in TARGET. Default: as in SOURCE.",
)
@click.option("--overwrite", is_flag=True, help="Replace TARGET if it exists.")
@click.option(
    "--leave-out",
    multiple=True,
    metavar="NAME",
    help="Do not read the array NAME, or those that begin with NAME and a dot. Can be repeated.",
)
def convert(source, target, activation, layout, overwrite, leave_out):
    """Make a .safetensors file of the weights of CLIP, SigLIP or UMT.

    SOURCE is a .safetensors file or a .pt, .pth or .bin file of PyTorch, OpenAI's archives
    included. It is read without PyTorch, and no code in it is executed. A checkpoint of the
    published TempMe code keeps its trained parameters.
    """
    from tempme_jax.weights.convert import convert_file

    remarks = convert_file(
        source,
        target,
        activation=activation,
        layout=layout,
        overwrite=overwrite,
        leave_out=leave_out,
    )
    for remark in remarks:
        click.echo(remark)
    click.echo(f"{target}: open it with tempme_jax.load({target!r})")
