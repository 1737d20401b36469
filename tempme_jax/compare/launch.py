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

LAST_LINES = 15
CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")


def launch_process(command: list[str]) -> tuple[int, list[str]]:
    """Run a command, print its output as it comes, and return its exit code and last lines.

    On a terminal the command gets a terminal of the same size, so its progress bars work.
    """
    reader, writer = os.openpty() if sys.stdout.isatty() else os.pipe()
    if os.isatty(writer):
        columns, lines = shutil.get_terminal_size()
        termios.tcsetwinsize(writer, (lines, columns))
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=writer, stderr=writer)
    os.close(writer)
    try:
        tail = relay_output(reader, process)
    except BaseException:
        # On SIGTERM a training saves its state, and prints that.
        process.terminate()
        relay_output(reader, process)
        process.wait()
        raise
    finally:
        os.close(reader)
    lines = CONTROL.sub("", tail).replace("\r\n", "\n").split("\n")
    # A progress bar rewrites its line; only the last version counts.
    lines = [line.split("\r")[-1].rstrip() for line in lines]
    return process.wait(), [line for line in lines if line][-LAST_LINES:]


def relay_output(reader: int, process: subprocess.Popen) -> str:
    """Print the output of a process until it ends, and return the end of the output."""
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
        print(text, end="", flush=True)
        tail = (tail + text)[-20_000:]
