"""What an interpreter is and has, asked of the interpreter itself without importing a framework."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import OnespecError

_TIMEOUT_SECONDS = 60

_SCRIPT = """
import importlib.metadata, importlib.util, json, platform, re, sys
sys.path = [entry for entry in sys.path if entry]
packages = {}
for found in importlib.metadata.distributions():
    name = found.metadata["Name"]
    if name:
        packages.setdefault(re.sub(r"[-_.]+", "-", name).lower(), found.version)
missing = [name for name in sys.argv[1:] if importlib.util.find_spec(name) is None]
print(json.dumps({"python": platform.python_version(), "packages": packages, "missing": missing}))
"""


@dataclass(frozen=True)
class Facts:
    """An interpreter's version, its installed packages, and which of the modules asked for it lacks."""

    python: str
    packages: dict[str, str]
    missing: tuple[str, ...]

    @property
    def python_version(self) -> tuple[int, int]:
        """Major and minor."""
        major, minor = self.python.split(".")[:2]
        return int(major), int(minor)


def facts(python: Path, modules: Sequence[str] = ()) -> Facts:
    """Ask an interpreter. Raises `OnespecError` where it does not run."""
    try:
        answer = subprocess.run(
            [str(python), "-c", _SCRIPT, *modules],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=True,
            stdin=subprocess.DEVNULL,
        )
        found = json.loads(answer.stdout)
    except subprocess.CalledProcessError as error:
        last = error.stderr.strip().splitlines()[-1:] or [f"exit code {error.returncode}"]
        raise OnespecError(f"{python} does not run: {last[0]}") from error
    except (OSError, subprocess.TimeoutExpired, json.JSONDecodeError) as error:
        raise OnespecError(f"{python} does not run as a Python interpreter: {error}") from error
    return Facts(found["python"], dict(sorted(found["packages"].items())), tuple(found["missing"]))
