"""The `tempme` command."""

import dataclasses
import functools
import json
import sys

import click

from tempme_jax.options import nearest
from tempme_jax.version import __version__

# What goes wrong by what the user gave: shown without a traceback.
USER_ERRORS = (ValueError, OSError)


class Group(click.Group):
    """Commands that report a user's mistake in one line, and suggest names for mistyped ones."""

    def resolve_command(self, ctx, args):
        """Finds the command, or names those most like it."""
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            hint = nearest(args[0], self.list_commands(ctx))
            listed = ", ".join(self.list_commands(ctx))
            ctx.fail(f"there is no command {args[0]!r}{hint}; there are: {listed}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx):
        """Runs the command."""
        try:
            return super().invoke(ctx)
        except USER_ERRORS as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tempme")
def main():
    """Efficient text-video retrieval in JAX: CLIP with temporal token merging."""


@main.command()
@click.argument("source")
@click.argument("target", type=click.Path(dir_okay=False))
@click.option(
    "--activation",
    type=click.Choice(["quick_gelu", "gelu"]),
    help="Of the MLPs. Default: gelu for LaCLIP's file name, else quick_gelu.",
)
@click.option(
    "--layout",
    type=click.Choice(["tempme_jax", "openai", "huggingface", "published"]),
    help="Names and forms of the arrays in TARGET. Default: those of SOURCE.",
)
@click.option("--overwrite", is_flag=True, help="Replace TARGET if it exists.")
def convert(source, target, activation, layout, overwrite):
    """Make a .safetensors file of CLIP weights.

    SOURCE is a .pt, .pth or .bin file of PyTorch (OpenAI's archives, too), read without PyTorch
    and without running anything in it, or a .safetensors file. A checkpoint of the published
    TempMe code keeps what it trained.
    """
    from tempme_jax.conversion import convert_file

    convert_file(source, target, activation=activation, layout=layout, overwrite=overwrite)
    click.echo(f"{target}: open it with tempme_jax.load({target!r})")


@main.group(cls=Group)
def bench():
    """Costs and speeds, measured here or counted."""


@bench.command("costs")
@click.option(
    "--table",
    "tables",
    type=int,
    multiple=True,
    help="Only this table of the paper; may be given several times.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a list of rows as JSON.")
def bench_costs(tables, as_json):
    """Count costs, beside those of the paper's tables.

    Parameters that train, multiply-accumulates of one video, and tokens that are left.
    """
    from tempme_jax import paper, reports

    rows = paper.rows_of(tables)
    with click.progressbar(rows, label="Counting", file=sys.stderr) as bar:
        counted = [paper.count_row(row) for row in bar]
    if as_json:
        click.echo(json.dumps([row.as_json() for row in counted], indent=1))
    else:
        reports.print_costs(counted)


@bench.command("encode")
@click.option("--methods", default="clip,tempme", show_default=True, help="Separated by commas.")
@click.option(
    "--backbone", default="ViT-B/32", show_default=True, help="ViT-B/32, ViT-B/16 or ViT-L/14."
)
@click.option("--frames", type=click.IntRange(1), default=12, show_default=True, help="Of a video.")
@click.option(
    "--batch", type=click.IntRange(1), help="Videos a call. Default: as many as embedding takes."
)
@click.option(
    "--rounds", type=click.IntRange(1), default=7, show_default=True, help="Calls of a method."
)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="Of the activations.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a list of rows as JSON.")
def bench_encode(methods, backbone, frames, batch, rounds, dtype, as_json):
    """Measure how many videos a second methods encode.

    In turns, in one run, with random weights; compared with the first of them.
    """
    from tempme_jax import benchmark, reports
    from tempme_jax.model import video_batch

    batch = batch or video_batch()
    speeds = benchmark.encode(
        [method.strip() for method in methods.split(",")],
        backbone=backbone,
        num_frames=frames,
        batch=batch,
        rounds=rounds,
        dtype=dtype,
        report=functools.partial(click.echo, err=True),
    )
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(speed) for speed in speeds], indent=1))
    else:
        title = f"{backbone}, {frames} frames, {batch} videos a call, {dtype}"
        reports.print_encode_speeds(speeds, title, benchmark.product_speed())
