"""Parts that several Transformers are made of."""

from __future__ import annotations

from collections.abc import Callable

from harness.spec.layers import Add, Dense, Dropout, Layer, LayerNorm
from harness.spec.model import Network


def residual(
    net: Network,
    last: str,
    inside: Callable[[str], str],
    *,
    norm: LayerNorm,
    norm_first: bool,
    dropout: float = 0.0,
) -> str:
    """`inside` with its input added to its output, and a normalization: of the sum (post-norm, Vaswani et al.
    2017), or with `norm_first` of what `inside` is given (pre-norm, Radford et al. 2019).
    """
    made = inside(net.add(norm, last) if norm_first else last)
    if dropout:
        made = net.add(Dropout(dropout), made)
    total = net.add(Add(), last, made)
    return total if norm_first else net.add(norm, total)


def feed_forward(net: Network, inner: int, activation: Layer, width: int) -> Callable[[str], str]:
    """Two dense layers, the first of `inner` units with an activation, for each step alone."""
    return lambda given: net.chain(given, Dense(inner), activation, Dense(width))
