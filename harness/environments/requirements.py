"""A backend's requirement list, as it is and with another version of the backend's package.

A list pins what the backend asks for, then, below a line `# transitive`, what those packages bring.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from harness.catalogue import Contender
from harness.errors import OnespecError, UsageError

TRANSITIVE = "# transitive"

_PIN = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?P<extras>\[[^\]]*\])?\s*==\s*(?P<version>[^\s;#]+)")


def text(contender: Contender, device_kind: str) -> str:
    """The requirement list for a contender on one kind of device, as its file has it.

    Raises `UsageError` where the backend does not run on that kind of device.
    """
    return file(contender, device_kind).read_text(encoding="utf-8")


def file(contender: Contender, device_kind: str) -> Path:
    """Where that list is."""
    backend = contender.backend
    if device_kind not in backend.devices:
        kinds = " and ".join(backend.devices)
        raise UsageError(
            f"{contender} does not run on {device_kind!r}: backend {backend.name} is for {kinds}."
        )
    return backend.environments[contender.mode.environment][device_kind]


def with_version(contender: Contender, device_kind: str) -> tuple[str, str]:
    """Two lists for a contender that names a version, to be tried in this order.

    In both, the package's own pin is replaced and what the list's packages bring is left to be resolved
    anew. The first keeps the other direct pins, so that only one thing changes; the second frees them too.
    """
    direct = [line.strip() for line in text(contender, device_kind).partition(TRANSITIVE)[0].splitlines()]
    names = {_canonical(name) for name in contender.backend.distributions}
    kept, freed, replaced = [], [], False
    for line in (line for line in direct if line and not line.startswith("#")):
        pin = _PIN.match(line)
        if pin and _canonical(pin["name"]) in names:
            kept.append(f"{pin['name']}{pin['extras'] or ''}=={contender.version}")
            freed.append(kept[-1])
            replaced = True
        else:
            kept.append(line)
            freed.append(f"{pin['name']}{pin['extras'] or ''}" if pin else line)
    if not replaced:
        where, package = file(contender, device_kind), contender.backend.package
        raise OnespecError(f"{where}: no line pins {package}, so {contender} cannot be made.")
    return "\n".join(kept) + "\n", "\n".join(freed) + "\n"


def digest(contender: Contender, device_kind: str) -> str:
    """Eight hexadecimal digits that change with the list, the version and the Python version."""
    parts = (text(contender, device_kind), contender.version or "", contender.backend.python)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:8]


def _canonical(name: str) -> str:
    """A distribution's name as PEP 503 normalises it."""
    return re.sub(r"[-_.]+", "-", name).lower()
