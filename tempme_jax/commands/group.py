"""The base of the `tempme` command: a group of commands that report mistakes in one line."""

import difflib
import re

import click

from tempme_jax.checks import suggest

# Errors caused by the user's input: shown without a traceback.
USER_ERRORS = (ValueError, OSError)
HELP_NAMES = ["-h", "--help"]


class Group(click.Group):
    """Commands that report a user's mistake in one line, and suggest names for a mistyped one."""

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
