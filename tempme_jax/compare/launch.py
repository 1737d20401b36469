"""A command that is run as if the user had started it, progress bars included."""

import codecs
import errno
import os
import re
import select
import shutil
import subprocess
import sys
import termios
from collections.abc import Callable

LAST_LINES = 15
CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")


def show_output(text: str) -> None:
    """Print what a command has printed."""
    print(text, end="", flush=True)


def launch_process(
    command: list[str],
    *,
    show: Callable[[str], None] = show_output,
    alone: bool = True,
    begin: Callable[[subprocess.Popen], None] = lambda process: None,
) -> tuple[int, list[str]]:
    """Run a command, show its output as it comes, and return its exit code and last lines.

    Args:
        command: the command and its arguments.
        show: shows a piece of the output.
        alone: whether no other command shows its output at the same time. On a terminal the command
            then gets a terminal of the same size, so its progress bars work.
        begin: called with the process when it has started.
    """
    reader, writer = os.openpty() if alone and sys.stdout.isatty() else os.pipe()
    if os.isatty(writer):
        columns, lines = shutil.get_terminal_size()
        termios.tcsetwinsize(writer, (lines, columns))
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=writer, stderr=writer)
    os.close(writer)
    begin(process)
    try:
        tail = relay_output(reader, process, show)
    except BaseException:
        # On SIGTERM a training saves its state, and prints that.
        process.terminate()
        relay_output(reader, process, show)
        process.wait()
        raise
    finally:
        os.close(reader)
    lines = CONTROL.sub("", tail).replace("\r\n", "\n").split("\n")
    # A progress bar rewrites its line; only the last version counts.
    lines = [line.split("\r")[-1].rstrip() for line in lines]
    return process.wait(), [line for line in lines if line][-LAST_LINES:]


def relay_output(reader: int, process: subprocess.Popen, show: Callable[[str], None]) -> str:
    """Show the output of a process until it ends, and return the end of the output."""
    decode, tail = codecs.getincrementaldecoder("utf-8")("replace").decode, ""
    while True:
        if not select.select([reader], [], [], 0.5)[0]:
            # Processes that outlive this one may hold the other end open.
            if process.poll() is not None:
                return tail
            continue
        try:
            chunk = os.read(reader, 65536)
        except OSError as error:
            # Linux reports the end of a terminal's output as EIO.
            if error.errno != errno.EIO:
                raise
            chunk = b""
        if not chunk:
            return tail
        text = decode(chunk)
        show(text)
        tail = (tail + text)[-20_000:]
