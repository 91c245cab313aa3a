"""Interpreters the user names instead of an environment of ours: `--python torch=/opt/torch/bin/python`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness import catalogue
from harness.catalogue import Backend, Contender
from harness.environments.facts import facts
from harness.errors import UsageError

# The text before the one '=' that does not belong to a version's '=='.
_ASSIGNMENT = re.compile(r"(?P<who>.*?[^=])=(?P<python>[^=].*)")
_OLDEST = (3, 11)


def parse_interpreters(texts: Sequence[str], known: Mapping[str, Backend] | None = None) -> dict[str, Path]:
    """Read `BACKEND=PATH` texts into interpreters by backend, or by canonical contender.

    The left side may be a contender (`keras:jax=PATH`), for a backend whose modes need different packages.
    Raises `UsageError` for an unknown name and for a path that is no program.
    """
    result: dict[str, Path] = {}
    for text in texts:
        match = _ASSIGNMENT.fullmatch(text)
        if not match:
            raise UsageError(
                f"--python {text!r}: write it as BACKEND=PATH, as in 'torch=/opt/torch/bin/python'."
            )
        contender = catalogue.contender(match["who"], known)
        # A bare backend's name stands for all its modes, where it would otherwise mean the default one.
        key = contender.backend.name if match["who"].strip() == contender.backend.name else str(contender)
        # Not resolved: a virtual environment's interpreter is a link, and following it would leave it.
        python = Path(os.path.abspath(Path(match["python"]).expanduser()))
        if not python.is_file() or not os.access(python, os.X_OK):
            raise UsageError(f"--python {text!r}: {python} is not an interpreter that can be run.")
        result[key] = python
    return result


def named(contender: Contender, interpreters: Mapping[str, Path]) -> Path | None:
    """The interpreter named for a contender, checked to hold what it needs; None where none is named.

    Raises `UsageError` where the interpreter is too old, lacks the backend's package or NumPy, or has
    another version than the contender pins.
    """
    python = interpreters.get(str(contender)) or interpreters.get(contender.backend.name)
    if python is None:
        return None
    backend, wrong = contender.backend, f"the interpreter named for {contender}, {python},"
    found = facts(python, (backend.package, "numpy"))
    if found.python_version < _OLDEST:
        raise UsageError(f"{wrong} is Python {found.python}; it has to be 3.11 or later.")
    if found.missing:
        raise UsageError(f"{wrong} cannot import {' and '.join(found.missing)}. Install it there first.")
    if contender.version is not None:
        installed = next(
            (found.packages[name] for name in backend.distributions if name in found.packages), None
        )
        if installed is None or contender.version not in (installed, installed.partition("+")[0]):
            raise UsageError(f"{wrong} has {backend.package} {installed or 'of an unknown version'}.")
    return python
