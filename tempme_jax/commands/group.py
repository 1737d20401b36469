"""The base of the `tempme` command: a group of commands that report mistakes in one line."""

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
        except USER_ERRORS as error:
            raise click.ClickException(str(error)) from error


CONFIG = click.argument("config")
OVERRIDES = click.argument("settings", nargs=-1, type=click.UNPROCESSED)
PASSED_ON = {"ignore_unknown_options": True}
