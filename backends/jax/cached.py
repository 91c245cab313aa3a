"""What a layer does that has something to remember from one generated token to the next."""

from __future__ import annotations

from typing import Any

Cache = Any
"""A pytree of arrays."""


class Cached:
    """Beside its call, how a module reads a sequence in parts. A module that is not one of these treats each
    step alone, and is simply called.
    """

    def begin(self, capacity: int, x: Any, *others: Any) -> tuple[Any, Cache]:
        """What a call gives for the first steps x (batch, steps, features), and a cache that has room for
        `capacity` steps.
        """
        raise NotImplementedError

    def go_on(self, cache: Cache, place: Any, x: Any) -> tuple[Any, Cache]:
        """What a call gives for the one step x (batch, 1, features) behind `place` others, and the new
        cache.
        """
        raise NotImplementedError
