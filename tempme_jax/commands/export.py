"""`tempme export`: a model as one file, or as files for another runtime."""

import os
import pathlib

import click

from tempme_jax.commands.group import PLUGIN

# The formats by how the names of their files end.
FORMATS = {".safetensors": "safetensors", ".onnx": "onnx", ".stablehlo": "stablehlo"}


@click.command()
@click.argument("model")
@click.argument("target", type=click.Path(dir_okay=False))
@click.option(
    "--format",
    "file_format",
    type=click.Choice(list(FORMATS.values())),
    help="safetensors: all parameters, for tempme_jax. onnx: both towers, for ONNX Runtime. "
    "stablehlo: both towers, for XLA on CPU, GPU and TPU. Default: as TARGET ends.",
)
@click.option("--int8", is_flag=True, help="With onnx: matrix products of 8-bit whole numbers.")
@click.option("--method", help="Method. Default: that of the model, else tempme.")
@click.option(
    "--frames", type=click.IntRange(1), help="Frames of a video. Default: the model's, else 12."
)
@click.option(
    "--backbone",
    is_flag=True,
    help="With safetensors: write a plain CLIP; LoRA is folded into its weights.",
)
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
@PLUGIN
def export(model, target, file_format, int8, method, frames, backbone, overwrite):
    """Write a model to files that hold all that is needed to use it.

    MODEL is the workdir of a training, or weights as for tempme_jax.load. An ONNX or StableHLO
    model is two files, one for each tower: TARGET clip.onnx makes clip.video.onnx and
    clip.text.onnx. What they compute is compared with the model on drawn inputs.
    """
    ending = pathlib.Path(target).suffix
    file_format = file_format or FORMATS.get(ending)
    if file_format is None:
        raise click.UsageError(
            f"{target!r} ends neither in {', '.join(list(FORMATS)[:-1])} nor in "
            f"{list(FORMATS)[-1]}; name the file so, or give --format"
        )
    if FORMATS.get(ending) != file_format:
        suffix = next(suffix for suffix, name in FORMATS.items() if name == file_format)
        raise click.UsageError(f"{target!r} is to hold {file_format}; let its name end in {suffix}")
    if int8 and file_format != "onnx":
        raise click.UsageError(f"--int8 belongs to --format onnx, not to {file_format}")
    if backbone and file_format != "safetensors":
        raise click.UsageError(f"--backbone belongs to --format safetensors, not to {file_format}")
    refuse_existing(list_targets(target, ending), overwrite=overwrite)

    from tempme_jax.loading import load
    from tempme_jax.screen import show_work

    target = pathlib.Path(target)
    with show_work("Opening the model"):
        opened = load(model, method=method, num_frames=frames)
    if opened.is_exported:
        raise click.UsageError(f"{model} is itself an export; give the model that it was made of")
    if file_format == "safetensors":
        opened.save(target, backbone=backbone)
        click.echo(f"{target}: open it with tempme_jax.load({str(target)!r})")
        return
    from tempme_jax.export import saving

    with show_work(f"Exporting {opened.method} for {opened.num_frames} frames"):
        if file_format == "onnx":
            made = saving.export_onnx(opened, target, int8=int8)
        else:
            made = saving.export_stablehlo(opened, target)
    print_export(made, target)


def list_targets(target, ending):
    """List the files that an export writes."""
    if ending == ".safetensors":
        return [pathlib.Path(target)]
    from tempme_jax.export.runtime import name_files

    return list(name_files(target, ending).values())


def refuse_existing(files, *, overwrite):
    """Raise a ValueError if a file is there, or the folder of the files is not."""
    for file in files:
        if file.exists() and not overwrite:
            raise ValueError(f"{file} exists; give another name, or --overwrite")
        if not os.path.isdir(file.parent):
            raise FileNotFoundError(f"there is no folder {file.parent}; make it first")


def print_export(made, target):
    """Print which files were written, how they agree with the model, and how to use them."""
    from tempme_jax.export.runtime import LEAST_COSINE

    for file in made.files.values():
        click.echo(f"{file}: {file.stat().st_size / 1e6:.1f} MB")
    click.echo("Agreement with the model, on drawn inputs:")
    for tower, found in made.agreement.items():
        numbers = f"largest difference {found['largest']:.1e}, cosine {found['cosine']:.7f}"
        click.echo(f"  {tower}: {numbers}")
    if made.speedup is not None:
        click.echo(f"Speed: {made.speedup:.2f} times that of float32 in ONNX Runtime")
    worst = min(found["cosine"] for found in made.agreement.values())
    if not worst >= LEAST_COSINE:
        click.echo(
            f"Warning: a cosine below {LEAST_COSINE} changes what a search finds; export the model "
            "without --int8, or compare the results",
            err=True,
        )
    if target.suffix == ".onnx":
        click.echo(f"Open it, without JAX, with tempme_jax.load({str(target)!r})")
    else:
        click.echo("Open a tower with jax.export.deserialize(file.read_bytes()).call(...)")
