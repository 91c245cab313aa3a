"""One isolated environment for each backend, environment key and device kind.

The frameworks' needs exclude each other, so each has an environment of its own, made on first use by `uv`
from the backend's requirement list, or an interpreter the user names.
"""

from __future__ import annotations

from harness.environments.environment import (
    Environment,
    Progress,
    describe,
    expected,
    list_environments,
    needed,
    remove,
)
from harness.environments.interpreters import named, parse_interpreters
from harness.environments.making import create, create_all
from harness.environments.probe import devices

__all__ = [
    "Environment",
    "Progress",
    "create",
    "create_all",
    "describe",
    "devices",
    "expected",
    "list_environments",
    "named",
    "needed",
    "parse_interpreters",
    "remove",
]
