"""The base of the `tempme` command: a group of commands that report mistakes in one line."""

import difflib
import itertools
import re
import sys

import click

from tempme_jax.checks import suggest
from tempme_jax.words import parse_clock

# Errors caused by the user's input: shown without a traceback.
USER_ERRORS = (ValueError, OSError)
HELP_NAMES = ["-h", "--help"]
# The exit status of a command that Ctrl-C has ended, as shells have it.
INTERRUPTED = 130


class Time(click.ParamType):
    """A time within a video, in seconds or as on a clock."""

    name = "time"

    def convert(self, value, param, ctx):
        """Return the time in seconds."""
        try:
            return parse_clock(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Command(click.Command):
    """A command whose help puts the less common options under headings."""

    def __init__(self, *args, headings=None, **kwargs):
        """Define the command.

        Args:
            *args: as for `click.Command`.
            headings: names of options, by heading; the others come first.
            **kwargs: as for `click.Command`.
        """
        super().__init__(*args, **kwargs)
        self.headings = headings or {}

    def format_options(self, ctx, formatter):
        """Write the options under their headings."""
        heading_of = {name: heading for heading, names in self.headings.items() for name in names}
        records = {heading: [] for heading in ("Options", *self.headings)}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record and isinstance(param, click.Option):
                records[heading_of.get(param.opts[0], "Options")].append(record)
        for heading, under_it in records.items():
            with formatter.section(heading):
                formatter.write_dl(under_it)


class Group(click.Group):
    """Commands that report a user's mistake in one line, and suggest names for a mistyped one."""

    def __init__(self, *args, headings=None, **kwargs):
        """Define the group.

        Args:
            *args: as for `click.Group`.
            headings: its commands, by the heading under which its help has them.
            **kwargs: as for `click.Group`.
        """
        super().__init__(*args, **kwargs)
        self.headings = headings or {}
        for command in itertools.chain(*self.headings.values()):
            self.add_command(command)

    def format_commands(self, ctx, formatter):
        """Write the commands under their headings, in one column."""
        if not self.headings:
            super().format_commands(ctx, formatter)
        width = max(map(len, self.commands))
        for heading, commands in self.headings.items():
            with formatter.section(heading):
                limit = formatter.width - 6 - width
                formatter.write_dl(
                    [(one.name.ljust(width), one.get_short_help_str(limit)) for one in commands]
                )

    def add_command(self, cmd, name=None):
        """Add a command, with the names of the option for help.

        It would have them from the group, but if it is called by itself first, it keeps others.
        """
        cmd.context_settings.setdefault("help_option_names", HELP_NAMES)
        super().add_command(cmd, name)

    def resolve_command(self, ctx, args):
        """Find the command, or suggest the nearest names."""
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            hint = suggest(args[0], self.list_commands(ctx))
            listed = ", ".join(self.list_commands(ctx))
            ctx.fail(f"there is no command {args[0]!r}{hint}; there are: {listed}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx):
        """Run the command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # as of `| head`; click ends without a word
            raise
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            sys.exit(INTERRUPTED)
        except click.UsageError as error:
            if not re.fullmatch(r"Got unexpected extra arguments? \(.*\)", error.message):
                raise
            hint = "put a name with spaces in quotes"
            raise click.UsageError(f"{error.message}; {hint}", error.ctx) from error
        except ModuleNotFoundError as error:
            from tempme_jax.doctor.hardware import UNIX_MODULES
            from tempme_jax.extras import explain_missing

            if missing := explain_missing(error):
                raise click.ClickException(missing) from error
            if error.name not in UNIX_MODULES:
                raise
            raise click.ClickException(
                "this command needs Linux or macOS, or WSL on Windows; `tempme doctor` says what "
                "works here"
            ) from error
        except USER_ERRORS as error:
            raise click.ClickException(str(error)) from error


def load_plugins(ctx, param, given):
    """Import the plugins that the user gives, before the command looks for their names."""
    if given:
        from tempme_jax.plugins import load_plugin

        for one in given:
            load_plugin(one)


def refuse_mistyped(ctx, param, words):
    """Return the settings, unless one of them is nearly an option of the command."""
    options = [name for one in ctx.command.params for name in one.opts if name.startswith("--")]
    for word in words:
        if re.match(r"--(?!(no)?config\.)", word):
            near = difflib.get_close_matches(word.partition("=")[0], options, n=1, cutoff=0.75)
            if near:
                ctx.fail(f"no such option: {word} (did you mean {near[0]!r}?)")
    return words


CONFIG = click.argument("config")
PLUGIN = click.option(
    "--plugin",
    multiple=True,
    metavar="FILE",
    callback=load_plugins,
    expose_value=False,
    is_eager=True,
    help="Python file, or module, that adds methods or data sets; may be given several times.",
)
OVERRIDES = click.argument("settings", nargs=-1, type=click.UNPROCESSED, callback=refuse_mistyped)
PASSED_ON = {"ignore_unknown_options": True}
