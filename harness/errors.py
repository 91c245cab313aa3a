"""The errors a person can act on: what was wrong, where, and what to do next.

Anything raised as an `OnespecError` reaches the user as one message without a traceback. Each class carries
the exit code of the command that met it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class OnespecError(Exception):
    """Something went wrong in a way that the message explains."""

    exit_code = 1


class UsageError(OnespecError):
    """The request itself is wrong: a name, a value, a file."""

    exit_code = 2


class NothingMeasured(OnespecError):
    """The command ended without a single measurement."""

    exit_code = 3


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for a wrong name: `unknown("suite", "quik", ["quick", "mnist"])` offers the nearest one."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if near:
        hint = f"Did you mean {near[0]!r}?"
    elif names:
        hint = "There is " + ", ".join(names) + "."
    else:
        hint = f"There is no {kind} at all."
    return UsageError(f"unknown {kind} {name!r}. {hint}")
