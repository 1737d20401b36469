"""The `tempme` command."""

import atexit
import gc

import click

from tempme_jax.commands.bench import bench
from tempme_jax.commands.compare import compare, show_results
from tempme_jax.commands.config import show_config
from tempme_jax.commands.data import data
from tempme_jax.commands.doctor import diagnose
from tempme_jax.commands.download import download
from tempme_jax.commands.duplicates import show_duplicates
from tempme_jax.commands.evaluate import evaluate
from tempme_jax.commands.export import export
from tempme_jax.commands.group import HELP_NAMES, Group
from tempme_jax.commands.index import index
from tempme_jax.commands.mcp import serve_assistant
from tempme_jax.commands.search import search
from tempme_jax.commands.serve import serve
from tempme_jax.commands.stats import show_stats
from tempme_jax.commands.visualize import visualize
from tempme_jax.commands.watch import watch
from tempme_jax.commands.weights import convert
from tempme_jax.version import __version__

COMMANDS = {
    "Search your videos": (
        index, search, serve, show_stats, show_duplicates, watch, serve_assistant,
    ),
    "Train, measure and compare": (
        data, show_config, evaluate, show_results, compare, bench, visualize,
    ),
    "Models, and this machine": (download, convert, export, diagnose),
}  # fmt: skip


@click.group(cls=Group, headings=COMMANDS, context_settings={"help_option_names": HELP_NAMES})
@click.version_option(__version__, prog_name="tempme")
def main():
    """Efficient text-video retrieval in JAX: CLIP with temporal token merging.

    \b
    To search: tempme index FOLDER, then tempme search WORDS --index FOLDER
    To train:  python -m tempme_jax.main --config=CONFIG
    """


# At the end, Python looks through all objects for garbage, which takes a third of a second if JAX
# was imported.
atexit.register(gc.freeze)

if __name__ == "__main__":
    main()
