"""`tempme download`: the weights of a model, before they are needed."""

import click


@click.command()
@click.argument("model", required=False)
@click.option(
    "--from",
    "source",
    metavar="FILE",
    type=click.Path(),
    help="Take the weights from this file or folder, without a network: a .safetensors file, or a "
    ".pt, .pth or .bin file of PyTorch, which is converted.",
)
@click.option("--sha256", metavar="DIGEST", help="Refuse a file with another SHA-256.")
def download(model, source, sha256):
    """Get the weights of MODEL to this machine, and try them.

    MODEL is the name of a Hugging Face repository; without it, the one that `tempme index` takes,
    OpenAI's CLIP ViT-B/32 (605 MB). What is here already is checked and not downloaded again.
    """
    from tempme_jax.search.opening import DEFAULT_MODEL
    from tempme_jax.weights.obtaining import obtain

    found = obtain(model or DEFAULT_MODEL, source, sha256=sha256)
    click.echo(f"{found.model} is here and opens ({found.file.stat().st_size / 1e6:,.0f} MB).")
    click.echo(f"  file    {click.format_filename(found.file)}")
    click.echo(f"  sha256  {found.sha256}")
    for remark in found.remarks:
        click.echo(remark)
    chosen = f" --model {found.model}" if model and model != DEFAULT_MODEL else ""
    click.echo(f"Next: tempme index FOLDER{chosen}")
