"""Where things live: the checkout, and the cache shared by all checkouts of one user."""

from __future__ import annotations

import os
from pathlib import Path


def root() -> Path:
    """The folder that holds `harness/`, `backends/` and `suites/`."""
    return Path(__file__).resolve().parent.parent


def cache() -> Path:
    """The folder of environments, downloaded data and prepared arrays.

    `$ONESPEC_CACHE`, else `onespec` in the user's cache folder (XDG base directory specification).
    """
    named = os.environ.get("ONESPEC_CACHE")
    if named:
        return Path(named).expanduser()
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "onespec"
