"""Making environments with uv, one or several side by side."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from harness.catalogue import Contender
from harness.environments import requirements
from harness.environments.environment import MARKER, Environment, Progress, expected, lock, whole
from harness.environments.facts import facts
from harness.environments.settings import Settings, settings
from harness.environments.uv import UvError, stop, uv
from harness.errors import OnespecError

AT_A_TIME = 2


def create(contender: Contender, device_kind: str, progress: Progress | None = None) -> Environment:
    """The environment a contender needs, made now unless it is there and whole.

    Raises `OnespecError` with uv's last lines and what to do, where it cannot be made.
    """
    wanted = expected(contender, device_kind)
    if wanted.ready:
        return wanted
    assert wanted.folder is not None

    def said(line: str) -> None:
        if progress:
            progress(wanted, line)

    try:
        wanted.folder.parent.mkdir(parents=True, exist_ok=True)
        with lock(wanted.folder, said):
            if not whole(wanted.folder):
                _make(wanted, contender, said)
    except OSError as error:
        raise OnespecError(
            f"the environment {wanted} cannot be made in {wanted.folder.parent}: {error}. "
            "Make room or give access there, or set ONESPEC_CACHE to another folder."
        ) from error
    return replace(wanted, ready=True)


def create_all(
    contenders: Iterable[Contender],
    device_kind: str,
    progress: Progress | None = None,
    at_a_time: int = AT_A_TIME,
) -> dict[str, Environment | OnespecError]:
    """Make what several contenders need, each environment once, `at_a_time` of them side by side.

    Returns, by canonical contender, the environment or the error that kept it from being made: one failure
    does not stop the others.
    """
    by_text = {str(contender): contender for contender in contenders}
    distinct = {_needs(contender): contender for contender in by_text.values()}

    def attempt(contender: Contender) -> Environment | OnespecError:
        try:
            return create(contender, device_kind, progress)
        except OnespecError as error:
            return error

    with ThreadPoolExecutor(max_workers=at_a_time) as pool:
        try:
            made = dict(zip(distinct, pool.map(attempt, distinct.values()), strict=True))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            stop()
            raise
    return {text: made[_needs(contender)] for text, contender in by_text.items()}


def _needs(contender: Contender) -> tuple[str, str, str | None]:
    """Equal for contenders that share an environment."""
    return contender.backend.name, contender.mode.environment, contender.version


def _make(wanted: Environment, contender: Contender, said: Callable[[str], None]) -> None:
    folder, user = wanted.folder, settings()
    assert folder is not None
    shutil.rmtree(folder, ignore_errors=True)
    said("making")
    try:
        uv(user, "venv", "--quiet", "--python", contender.backend.python, "--no-project", folder, said=said)
        _install(wanted, contender, user, said)
        found = facts(wanted.python)
        marker = {
            "backend": wanted.backend,
            "key": wanted.key,
            "device_kind": wanted.device_kind,
            "version": wanted.version,
            "python": found.python,
            "packages": found.packages,
        }
        unfinished = folder / (MARKER + ".new")
        unfinished.write_text(json.dumps(marker, indent=1) + "\n", encoding="utf-8")
        os.replace(unfinished, folder / MARKER)
    except UvError as error:
        raise OnespecError(
            f"the environment {wanted} could not be made: {error}\n{_advice(wanted)}"
        ) from error
    finally:
        if not (folder / MARKER).exists():
            shutil.rmtree(folder, ignore_errors=True)
    said("ready")


def _install(wanted: Environment, contender: Contender, user: Settings, said: Callable[[str], None]) -> None:
    assert wanted.folder is not None
    command: tuple[str | Path, ...] = ("pip", "install", "--python", wanted.python, *user.arguments, "-r")
    if contender.version is None:
        uv(user, *command, requirements.file(contender, wanted.device_kind), said=said)
        return
    changed = wanted.folder / "requirements.txt"
    kept, freed = requirements.with_version(contender, wanted.device_kind)
    changed.write_text(kept, encoding="utf-8")
    try:
        uv(user, *command, changed, said=said)
    except UvError:
        if freed == kept:
            raise
        said("trying again without the other pins")
        changed.write_text(freed, encoding="utf-8")
        uv(user, *command, changed, said=said)


def _advice(wanted: Environment) -> str:
    again = f"{wanted.backend}=={wanted.version}" if wanted.version else wanted.backend
    return (
        "Check the network, the disk and your package settings (uv's and pip's are both followed: index, "
        f"find-links, certificate), then run: onespec env create {again}\n"
        f"Or name an interpreter that has the framework: --python {wanted.backend}=/path/to/python"
    )
