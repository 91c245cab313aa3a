"""Loading a backend's package from its folder, wherever that is."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def load_backend(name: str, folder: Path) -> ModuleType:
    """Import the backend, and with it its framework.

    The package is loaded by its place, under the name `onespec_backend_<name>`: its folder never joins
    `sys.path`, where `backends/torch` would hide the framework of that name.
    """
    full = f"onespec_backend_{name}"
    found = importlib.util.spec_from_file_location(
        full, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if found is None or found.loader is None:
        raise ImportError(f"{folder} holds no backend package")
    module = importlib.util.module_from_spec(found)
    sys.modules[full] = module
    found.loader.exec_module(module)
    return module
