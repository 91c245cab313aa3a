"""The Transformer (Vaswani et al. 2017)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from harness.spec.blocks import feed_forward, residual
from harness.spec.layers import (
    Dropout,
    Embedding,
    Layer,
    LayerNorm,
    MultiHeadAttention,
    Positions,
    ReLU,
    Shape,
    Unembedding,
)
from harness.spec.model import Model, Network


def transformer(
    shapes: Mapping[str, Shape],
    tokens: int,
    *,
    width: int,
    layers: int,
    heads: int,
    inner: int | None = None,
    norm_first: bool = False,
    dropout: float = 0.0,
    vocabulary: int | None = None,
) -> Model:
    """An encoder of `x` and a decoder of `target`, which attends to it: sinusoidal positions, ReLU, `inner`
    units (four times the width), and one table, scaled, for both sides and the logits. Post-norm as in the
    paper or, with `norm_first`, pre-norm and one more normalization at either end.

    `vocabulary` is the table's rows where they are to be more than the data's tokens. With width 512, 6
    layers, 8 heads and 37,000 tokens it is the paper's base model, whose parameters it gives as 65 million:
    here they are 63,082,496.
    """
    size = max(tokens, vocabulary or 0)
    net = Network(shapes["x"], "int")
    lengths, target = net.input("lengths"), net.input("target", shapes["target"])

    def embedded(given: str, shares: str | None = None) -> tuple[str, str]:
        words = net.add(Embedding(size, width, True, "lecun_normal"), given, shares=shares)
        last = net.add(Positions("sinusoidal"), words)
        return words, net.add(Dropout(dropout), last) if dropout else last

    def block(last: str, *attentions: tuple[Layer, tuple[str, ...]]) -> str:
        def attend(layer: Layer, others: tuple[str, ...]) -> Callable[[str], str]:
            return lambda given: net.add(layer, given, *others)

        insides = [attend(layer, others) for layer, others in attentions]
        for inside in (*insides, feed_forward(net, inner or 4 * width, ReLU(), width)):
            last = residual(net, last, inside, norm=LayerNorm(), norm_first=norm_first, dropout=dropout)
        return last

    table, source = embedded("x")
    for _ in range(layers):
        source = block(source, (MultiHeadAttention(heads, lengths=True), (lengths,)))
    source = net.add(LayerNorm(), source) if norm_first else source
    _, last = embedded(target, table)
    across = MultiHeadAttention(heads, memory=True, lengths=True)
    for _ in range(layers):
        last = block(last, (MultiHeadAttention(heads, causal=True), ()), (across, (source, lengths)))
    last = net.add(LayerNorm(), last) if norm_first else last
    return net.model(net.add(Unembedding(size, "lecun_normal"), last, shares=table))
