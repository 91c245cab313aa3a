"""What an environment is, where it lies, and whether it is whole.

An environment is a folder in the cache. Its marker file is written last, so a folder without one was
interrupted, and is made anew. A lock keeps two runs from making the same one at once.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import paths
from harness.catalogue import Backend, Contender
from harness.environments import requirements
from harness.environments.facts import Facts, facts
from harness.errors import OnespecError

MARKER = "onespec-environment.json"

_FOLDER = re.compile(r"(?P<backend>[a-z0-9_]+)-(?P<key>.+)-(?P<kind>cpu|cuda)-(?P<digest>[0-9a-f]{8})")


@dataclass(frozen=True)
class Environment:
    """One environment, made (`ready`) or not.

    `version` is the contender's own version, None where the list's pins hold. `folder` is None for an
    interpreter the user named.
    """

    backend: str
    key: str
    device_kind: str
    version: str | None
    python: Path
    folder: Path | None
    ready: bool

    def __str__(self) -> str:
        """For people: `keras (jax, cpu)`, `torch==2.12.1 (default, cpu)`."""
        version = f"=={self.version}" if self.version else ""
        return f"{self.backend}{version} ({self.key}, {self.device_kind})"


Progress = Callable[[Environment, str], None]
"""Told what happens to an environment, in one line for people; called from several threads."""


def expected(contender: Contender, device_kind: str) -> Environment:
    """The environment a contender needs on a kind of device, whether or not it has been made.

    Raises `UsageError` where the backend does not run on that kind of device.
    """
    backend, key = contender.backend.name, contender.mode.environment
    digest = requirements.digest(contender, device_kind)
    folder = _home() / f"{backend}-{key}-{device_kind}-{digest}"
    python = folder / "bin" / "python"
    return Environment(backend, key, device_kind, contender.version, python, folder, whole(folder))


def describe(environment: Environment) -> Facts:
    """An environment's Python version and packages, from its marker or, for a named interpreter, from itself.

    Raises `OnespecError` where it is not there or does not run.
    """
    if environment.folder is not None:
        marker = _read_marker(environment.folder)
        if marker is None or not environment.ready:
            raise OnespecError(
                f"the environment {environment} is not made: onespec env create {environment.backend}"
            )
        return Facts(marker["python"], marker["packages"], ())
    return facts(environment.python)


def needed(known: Mapping[str, Backend], device_kinds: Iterable[str]) -> list[Environment]:
    """Every environment the backends need for these kinds of devices, made or not."""
    result: dict[Path | None, Environment] = {}
    kinds = list(device_kinds)
    for backend in known.values():
        for mode in backend.modes.values():
            for kind in (kind for kind in kinds if kind in backend.devices):
                environment = expected(Contender(backend, mode), kind)
                result.setdefault(environment.folder, environment)
    return list(result.values())


def list_environments(known: Mapping[str, Backend], device_kinds: Iterable[str]) -> list[Environment]:
    """What the backends need for these kinds of devices, then whatever else is in the cache.

    What else there may be: environments for a version, for other devices, or from lists that have changed.
    """
    result = {environment.folder: environment for environment in needed(known, device_kinds)}
    for folder in sorted(_home().iterdir()) if _home().is_dir() else []:
        match = _FOLDER.fullmatch(folder.name)
        if match and folder.is_dir() and folder not in result:
            version = (_read_marker(folder) or {}).get("version")
            python = folder / "bin" / "python"
            result[folder] = Environment(
                match["backend"], match["key"], match["kind"], version, python, folder, whole(folder)
            )
    return list(result.values())


def remove(environment: Environment) -> bool:
    """Delete an environment's folder; False where there was none, or where it is the user's interpreter.

    Raises `OnespecError` where it cannot be deleted.
    """
    folder = environment.folder
    if folder is None or not folder.exists():
        return False
    try:
        with lock(folder, lambda line: None):
            # First of all, so that what is left after an interruption is not taken for an environment.
            (folder / MARKER).unlink(missing_ok=True)
            shutil.rmtree(folder)
    except OSError as error:
        raise OnespecError(f"the environment {environment} cannot be removed: {error}") from error
    return True


def _home() -> Path:
    return paths.cache() / "environments"


def whole(folder: Path) -> bool:
    """Whether it was finished and its interpreter, a link to a Python elsewhere, is still there."""
    return _read_marker(folder) is not None and os.access(folder / "bin" / "python", os.X_OK)


def _read_marker(folder: Path) -> dict[str, Any] | None:
    try:
        found = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and {"python", "packages"} <= found.keys() else None


@contextlib.contextmanager
def lock(folder: Path, said: Callable[[str], None]) -> Iterator[None]:
    """Hold an environment's lock; `said` hears of it when another process has to be waited for."""
    # Never deleted: a process that waits on a deleted lock would hold another one than its successor.
    with folder.with_name(f".{folder.name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            said("waiting: another process is making it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
