"""Runs a command as if the user had started it: what it prints moves as it would by itself."""

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
    """Runs a command, shows what it prints as it comes, and returns its exit code and last lines.

    On a terminal the command has one of the same size, too, so that its progress moves.
    """
    reader, writer = os.openpty() if sys.stdout.isatty() else os.pipe()
    if os.isatty(writer):
        columns, lines = shutil.get_terminal_size()
        termios.tcsetwinsize(writer, (lines, columns))
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=writer, stderr=writer)
    os.close(writer)
    try:
        tail = show(reader, process)
    except BaseException:
        # It saves what it has, and says so.
        process.terminate()
        show(reader, process)
        process.wait()
        raise
    finally:
        os.close(reader)
    lines = CONTROL.sub("", tail).replace("\r\n", "\n").split("\n")
    # Of a line that was written over and over, its end.
    lines = [line.split("\r")[-1].rstrip() for line in lines]
    return process.wait(), [line for line in lines if line][-LAST_LINES:]


def show(reader: int, process: subprocess.Popen) -> str:
    """Prints what a process writes until it ends, and returns the last of it."""
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
            # So a terminal says that nobody writes to it any more.
            if error.errno != errno.EIO:
                raise
            chunk = b""
        if not chunk:
            return tail
        text = decode(chunk)
        print(text, end="", flush=True)
        tail = (tail + text)[-20_000:]
