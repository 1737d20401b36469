"""What `tempme search` does with what it found: it prints it, and saves it."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from tempme_jax.words import format_clock, pluralize, printable_name

if TYPE_CHECKING:
    from tempme_jax.search.query.results import Results

# Those besides "table" and "json" are in `search.saving.lists.FORMATS`.
FORMATS = ("table", "csv", "m3u", "edl", "otio", "json")


class FilledPath(click.Path):
    """A path that says something: pathlib takes "" for the current folder."""

    def convert(self, value, param, ctx):
        """Return the path."""
        if not os.fspath(value):
            hint = "; write . for the current folder" if self.dir_okay else ""
            self.fail(f"the path is empty{hint}", param, ctx)
        return super().convert(value, param, ctx)


OPTIONS = (
    click.option(
        "--format",
        "output",
        type=click.Choice(FORMATS),
        default="table",
        show_default=True,
        help="Print a table, comma-separated values, a play list (m3u), a list for a video editor "
        "(edl, or otio of OpenTimelineIO), or JSON.",
    ),
    click.option("--json", "as_json", is_flag=True, help="The same as --format json."),
    click.option(
        "--save",
        type=FilledPath(file_okay=False, path_type=Path),
        metavar="FOLDER",
        help="Save each moment as an mp4 file in this folder.",
    ),
    click.option(
        "--reel",
        type=FilledPath(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Save all moments, one after another, as one mp4 file.",
    ),
    click.option("--overwrite", is_flag=True, help="Let --save and --reel replace files."),
)


class Output(NamedTuple):
    """What is to become of the moments that a search finds.

    Attributes:
        format: one of `FORMATS`.
        folder: where each is saved; None for nowhere.
        reel: file in which all are saved; None for none.
        overwrite: whether files are replaced.
    """

    format: str = "table"
    folder: Path | None = None
    reel: Path | None = None
    overwrite: bool = False

    @property
    def saves(self) -> bool:
        """Whether moments are saved."""
        return self.folder is not None or self.reel is not None


def add_output_options(command):
    """Add the options to a command."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def check_output(output, as_json, save, reel, overwrite):
    """Return the values of the options, once they fit together."""
    if as_json and output not in ("table", "json"):
        raise click.UsageError(f"give --json or --format {output}, not both")
    if overwrite and not (save or reel):
        raise click.UsageError("--overwrite belongs to --save and --reel; give one of them")
    if reel is not None and reel.suffix.lower() != ".mp4":
        raise click.UsageError(f"--reel writes an mp4 file; write it {reel.with_suffix('.mp4')}")
    chosen = Output("json" if as_json else output, save, reel, overwrite)
    refuse_existing(chosen)
    return chosen


def refuse_existing(output):
    """Raise an error if --reel has no folder, or its file is there and is not to be replaced."""
    if output.reel is not None and not output.reel.parent.is_dir():
        raise click.UsageError(f"--reel {output.reel}: there is no folder {output.reel.parent}")
    if output.reel is not None and output.reel.exists() and not output.overwrite:
        raise click.UsageError(f"{output.reel} exists; give another name, or --overwrite")


def show_answer(answer, view, output, open_index):
    """Print what was found, and save it if that is asked for.

    `view` holds arguments of `print_results`. `open_index` opens the index; it is called only to
    save something.
    """
    saved, failed = None, 0
    if output.format != "json":
        print_answer(answer, view, output.format)
    if output.saves and (answer.results.moments or answer.results.said):
        saved, failed = save_results(open_index(), answer.results, output, view["everything"])
    if output.format == "json":
        print_json(answer, saved)
    if answer.outdated:
        note = "were read by an older version; run `tempme index FOLDER` to look at them again"
        click.echo(f"Note: {pluralize(answer.outdated, 'file')} {note}", err=True)
    if failed:
        raise click.ClickException(f"{pluralize(failed, 'moment')} could not be saved, see above")


def print_answer(answer, view, name):
    """Print what was found as a table, or in another format for other programs."""
    from tempme_jax.search.query import printing

    if name == "table":
        printing.print_results(answer.results, **view)
        return
    from tempme_jax.search.saving.lists import FORMATS

    # Names of files that are no text keep their bytes.
    text = FORMATS[name](answer.results, everything=view["everything"])
    click.echo(text.encode("utf-8", "surrogateescape"), nl=False)
    for note in filter(None, (answer.results.message, answer.results.notice)):
        click.echo(f"Note: {note}", err=True)


def print_json(answer, saved):
    """Print what was found as JSON, and what was saved of it."""
    from tempme_jax.search.query import results

    converted = results.convert_to_json(answer.results) | {"answered_by": answer.answered_by}
    if saved is not None:
        converted["saved"] = saved
    click.echo(json.dumps(converted, indent=1))


def save_results(
    index, results: "Results", output: Output, everything: bool
) -> tuple[list[dict], int]:
    """Save the moments of a search as its options say, with a line for each on standard error.

    `everything` is that of `print_results`; what its table shows is saved.

    Returns:
        For each moment that was to be saved its `file`, whether its pictures were `copied`, and the
        `reason` if it was not saved now; and how many could not be saved.
    """
    from tempme_jax.search.saving.hits import save_moments, save_reel
    from tempme_jax.search.saving.lists import list_hits

    refuse_existing(output)
    hits, works = list_hits(results, everything=everything), []
    if output.folder is not None:
        work = save_moments(index, hits, output.folder, overwrite=output.overwrite)
        works.append((output.folder, work))
    if output.reel is not None:
        works.append((output.reel, save_reel(index, hits, output.reel)))
    saved, failed = [], 0
    for place, work in works:
        name, done = printable_name(os.fsencode(place)), 0
        try:
            for each in work:
                click.echo(describe(each, place), err=True)
                done, failed = done + (each.file is not None), failed + each.is_failure
                saved.append(
                    {
                        "file": None if each.file is None else str(each.file),
                        "copied": each.copied, "reason": each.reason,
                    }
                )  # fmt: skip
        except OSError as error:
            reason = error.strerror or error
            raise click.ClickException(f"{name} cannot be written ({reason})") from error
        click.echo(f"{pluralize(done, 'moment')} in {name}", err=True)
    return saved, failed


def describe(saved, place):
    """Say in a line what became of a moment."""
    if saved.is_failure:
        return f"Not saved: {printable_name(os.fsencode(saved.reason))}"
    if saved.reason:
        return printable_name(os.fsencode(saved.reason))
    how = "copied without loss" if saved.copied else "encoded as H.264"
    if saved.file == place:
        moment = saved.moment
        span = (
            f"{format_clock(moment.start, tenths=True)} to {format_clock(moment.end, tenths=True)}"
        )
        return f"In it: {printable_name(os.fsencode(moment.file.name))}, {span} ({how})"
    return f"Saved {printable_name(os.fsencode(saved.file.name))} ({how})"
