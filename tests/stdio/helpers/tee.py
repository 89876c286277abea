"""Runs a command and writes down, byte for byte, what passes through its pipes.

usage: tee.py DIRECTORY COMMAND [ARGUMENT]...

Each run leaves two files in DIRECTORY, named so that they sort by start:
`<time>-<pid>.in` is what the command was sent, `<time>-<pid>.out` what it said.
Exits as the command did.
"""

import os
import signal
import subprocess
import sys
import threading
import time

CHUNK = 64 * 1024


def copy(source: int, sink: int, record: str) -> None:
    """Copies until either end closes; the record gets a chunk before the sink does."""
    with open(record, "wb", buffering=0) as written:
        while chunk := os.read(source, CHUNK):
            written.write(chunk)
            try:
                rest = memoryview(chunk)
                while rest:
                    rest = rest[os.write(sink, rest) :]
            except BrokenPipeError:
                break
    os.close(sink)


def main() -> None:
    directory, *command = sys.argv[1:]
    os.makedirs(directory, exist_ok=True)
    prefix = os.path.join(directory, f"{time.time_ns()}-{os.getpid()}")
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda received, _frame: child.send_signal(received))

    to_child = os.dup(child.stdin.fileno())
    child.stdin.close()
    downward = threading.Thread(target=copy, args=(0, to_child, prefix + ".in"), daemon=True)
    upward = threading.Thread(target=copy, args=(child.stdout.fileno(), 1, prefix + ".out"), daemon=True)
    downward.start()
    upward.start()
    status = child.wait()
    # A grandchild may hold the pipe open; it is not worth waiting for.
    upward.join(timeout=2)
    if status < 0:
        signal.signal(-status, signal.SIG_DFL) if -status != signal.SIGKILL else None
        os.kill(os.getpid(), -status)
    os._exit(status)


main()
