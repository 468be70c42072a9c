"""Processes, conditions with deadlines, and progress lines for the harness."""
import ctypes
import os
import signal
import subprocess
import sys
import time

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


class Failure(Exception):
    """What failed, in words a person can act on."""


def say(text):
    """A progress line on stderr."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def run(args, check=True, timeout=60, stdin=None):
    """Runs a command to its end; returns the completed process. A failure names the command and its last lines."""
    try:
        done = subprocess.run(args, capture_output=True, text=True, timeout=timeout, input=stdin)
    except subprocess.TimeoutExpired as late:
        raise Failure(f"`{' '.join(args)}` did not end within {timeout} s") from late
    if check and done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-8:])
        raise Failure(f"`{' '.join(args)}` ended with {done.returncode}:\n{tail}")
    return done


def wait_until(what, seconds, condition, poll=0.1):
    """Waits until `condition()` is true and returns its value; fails naming `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failure(f"after {seconds} s still not: {what}")
        time.sleep(poll)


def expect(truth, what):
    """Fails with `what` unless `truth`."""
    if not truth:
        raise Failure(what)


def expect_equal(got, wanted, what):
    """Fails unless both are equal, showing both."""
    if got != wanted:
        raise Failure(f"{what}: wanted {wanted!r}, got {got!r}")


def die_with_parent():
    """Run in a child before exec: it ends when the harness ends."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def end(process, seconds=10):
    """Ends a process: SIGTERM, and SIGKILL when it does not obey within `seconds`. Returns its exit code."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
    return process.returncode


def tail(path, lines=15):
    """The last lines of a log, for a failure's text."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return "".join(file.readlines()[-lines:])
    except OSError:
        return ""


def read(path):
    """A whole text file, empty if it is not there."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def alive(pid):
    """Whether a process runs."""
    try:
        os.kill(pid, 0)
        return True
    except ProcessLookupError:
        return False
