"""A backend called `toy` whose environment holds one small pure package."""

from __future__ import annotations

from pathlib import Path

import pytest

TOML = """
title = "Toy"
package = "six"
python = "3.11"
default_mode = "plain"
devices = ["cpu"]
probe = "import json, six; print('hello'); print(json.dumps(['cpu ' + six.__version__]))"

[modes.plain]
description = "as it is"

[modes.same]
description = "in the same environment"

[environments.default]
cpu = "cpu.txt"
"""


def toy_backend(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write it below `folder`, make it known, and give the environments an empty cache there."""
    backend = folder / "backends" / "toy"
    backend.mkdir(parents=True)
    (backend / "backend.toml").write_text(TOML)
    (backend / "cpu.txt").write_text("six==1.17.0\n# transitive\n")
    monkeypatch.setenv("ONESPEC_BACKENDS", str(backend.parent))
    monkeypatch.setenv("ONESPEC_CACHE", str(folder / "cache"))
    return backend
