"""Work for other processes, which must be able to import it; some of it deadly."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from panoptag_pyg.errors import ConfigError


def square(number):
    return number**2, os.getpid()


def die_until(folder, number, deaths, how=signal.SIGKILL):
    """Ends its process the first ``deaths`` times; each attempt leaves a file."""
    attempts = Path(folder) / str(number)
    attempts.mkdir(exist_ok=True)
    attempt = len(os.listdir(attempts))
    (attempts / str(attempt)).touch()
    if attempt < deaths:
        os.kill(os.getpid(), how)
    return number


def refuse(number):
    raise ConfigError(f"number {number} is no good")


def stumble(number):
    return {}[number]


class Stubborn(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def stubborn(number):
    raise Stubborn(1, 2)


class Unpicklable:
    def __reduce__(self):
        raise TypeError("no")


def unpicklable(number):
    return Unpicklable()


class Explosive:
    """Can't be unpickled, as in a script without ``if __name__ == "__main__"``."""

    def __reduce__(self):
        return os._exit, (9,)
