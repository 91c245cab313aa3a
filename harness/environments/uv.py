"""Running the `uv` that comes as a dependency, its lines handed on as they appear."""

from __future__ import annotations

import subprocess
from collections import deque
from collections.abc import Callable
from pathlib import Path

from uv import find_uv_bin

from harness.environments.settings import Settings
from harness.errors import OnespecError

LAST_LINES = 12


_running: set[subprocess.Popen[str]] = set()


class UvError(OnespecError):
    """uv refused or failed; the message holds its last lines."""


def uv(settings: Settings, *arguments: str | Path, said: Callable[[str], None]) -> None:
    """Run uv to its end. Raises `UvError` with the last lines it printed."""
    variables = dict(settings.variables)
    # A shell's own environment, or a wish to install into the system's Python, is not meant for this one.
    for name in ("VIRTUAL_ENV", "CONDA_PREFIX", "UV_PYTHON", "UV_SYSTEM_PYTHON", "UV_PROJECT_ENVIRONMENT"):
        variables.pop(name, None)
    variables |= {"NO_COLOR": "1", "UV_NO_PROGRESS": "1"}
    command = [find_uv_bin(), *map(str, arguments)]
    last: deque[str] = deque(maxlen=LAST_LINES)
    with subprocess.Popen(
        command,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        _running.add(process)
        try:
            for line in process.stdout:
                if line.strip():
                    last.append(line.rstrip())
                    # What was installed is in the marker; here it would bury the progress.
                    if not line.startswith((" + ", "Using ")):
                        said(line.strip())
        except BaseException:
            process.terminate()
            raise
        finally:
            _running.discard(process)
    if process.returncode:
        what = " ".join(str(argument) for argument in arguments[:2])
        lines = "\n  ".join(last) or f"(nothing; exit code {process.returncode})"
        raise UvError(f"'uv {what}' failed:\n  {lines}")


def stop() -> None:
    """End every uv that this process started, as after an interrupt."""
    for process in list(_running):
        process.terminate()
