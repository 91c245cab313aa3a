"""Which devices a framework sees in its environment, asked with the code its backend gives."""

from __future__ import annotations

import json
import os
import subprocess

from harness.catalogue import Backend
from harness.environments.environment import Environment
from harness.errors import OnespecError

_TIMEOUT_SECONDS = 180


def devices(environment: Environment, backend: Backend) -> list[str] | None:
    """The devices' names, None where the backend gives no probe.

    Imports the framework in a process of its own, so it takes seconds. Raises `OnespecError` with the last
    line of the failure: the environment is broken, or the framework does not run on this machine.
    """
    if backend.probe is None:
        return None
    modes = [mode for mode in backend.modes.values() if mode.environment == environment.key]
    variables = dict(modes[0].variables) if modes else {}
    try:
        answer = subprocess.run(
            [str(environment.python), "-c", backend.probe],
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_SECONDS,
            check=True,
            stdin=subprocess.DEVNULL,
        )
        # Frameworks greet on standard output too; the probe's own line is the last.
        names = json.loads(answer.stdout.strip().splitlines()[-1])
        return [str(name) for name in names]
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip().splitlines() or [f"exit code {error.returncode}"])[-1]
    except subprocess.TimeoutExpired:
        reason = f"no answer within {_TIMEOUT_SECONDS} s"
    except (OSError, IndexError, TypeError, json.JSONDecodeError) as error:
        reason = str(error)
    raise OnespecError(
        f"{reason}. Make it anew: onespec env remove {backend.name} && onespec env create {backend.name}"
    )
