"""Layers of sequences and tokens that are neither recurrent nor attention."""

from __future__ import annotations

from typing import Any

from mxnet import nd
from mxnet.gluon import HybridBlock, nn

from harness.spec import layers as spec
from harness.worker.protocol import Layout

from .lowering import Lowered, Place, after, lower


class Positions(HybridBlock):
    """Rows of a table added to (batch, time, width): its first or, for a decoder, those of given places."""

    def __init__(self, layer: spec.Positions, place: Place) -> None:
        super().__init__()
        self.time, width = place.shape
        if layer.form == "learned":
            self.table = self.params.get("table", shape=(layer.most or self.time, width))
        else:
            waves = nd.array(layer.waves(place.shape), dtype="float64")
            self.table = self.params.get_constant("table", waves)

    def hybrid_forward(self, F: Any, x: Any, places: Any = None, *, table: Any) -> Any:
        """`places` are (time,)."""
        if places is None:
            rows = F.slice_axis(table, axis=0, begin=0, end=self.time)
        else:
            rows = F.take(table, places)
        return F.broadcast_add(x, F.expand_dims(rows, axis=0))


@lower.register
def _(layer: spec.Embedding, place: Place) -> Lowered:
    block = nn.Embedding(layer.tokens, layer.width)
    scaled = nn.HybridLambda(lambda F, x: x * layer.scale)
    tensors = {"table": (block.weight, Layout())}
    return Lowered(after(block, scaled) if layer.scaled else block, tensors)


@lower.register
def _(layer: spec.Unembedding, place: Place) -> Lowered:
    flatten = len(place.shape) == 1
    block = nn.Dense(layer.tokens, use_bias=False, flatten=flatten, in_units=place.shape[-1])
    return Lowered(block, {"table": (block.weight, Layout())})


@lower.register
def _(layer: spec.Positions, place: Place) -> Lowered:
    block = Positions(layer, place)
    return Lowered(block, {"table": (block.table, Layout())} if layer.form == "learned" else {})


@lower.register
def _(layer: spec.Select, place: Place) -> Lowered:
    step = layer.step % place.shape[0]

    def select(F: Any, x: Any) -> Any:
        return F.reshape(F.slice_axis(x, axis=1, begin=step, end=step + 1), shape=(0, -1))

    return Lowered(nn.HybridLambda(select))


@lower.register
def _(layer: spec.GlobalAvgPool1D, place: Place) -> Lowered:
    time = place.shape[0]

    def average(F: Any, x: Any, lengths: Any = None) -> Any:
        # A product with each step's share: `mean` and `sum` take five times as long.
        shares = F.ones_like(F.slice_axis(x, axis=2, begin=0, end=1))
        if lengths is None:
            shares = shares / time
        else:
            real = F.SequenceMask(shares, lengths, use_sequence_length=True, axis=1)
            shares = F.broadcast_div(real, F.reshape(lengths, shape=(-1, 1, 1)))
        return F.reshape(F.batch_dot(shares, x, transpose_a=True), shape=(0, -1))

    return Lowered(nn.HybridLambda(average))


class Conv1D(nn.Conv1D):
    """`nn.Conv1D` on a copy of its kernel: an evaluation leaves the kernel that it is given in oneDNN's own
    layout, and of three axes nothing can be copied into that any more ("Check failed: to.IsDefaultData()").
    """

    def hybrid_forward(self, F: Any, x: Any, weight: Any, bias: Any = None) -> Any:
        """The convolution."""
        return super().hybrid_forward(F, x, weight * 1, bias)


@lower.register
def _(layer: spec.Conv1D, place: Place) -> Lowered:
    ahead, behind = layer.pads(place.shape)
    block = Conv1D(
        layer.filters,
        layer.size,
        layer.stride,
        padding=ahead if ahead == behind else 0,
        use_bias=layer.bias,
        in_channels=place.shape[1],
    )
    tensors = {"kernel": (block.weight, Layout((2, 1, 0)))}
    if layer.bias:
        tensors["bias"] = block.bias, Layout()
    blocks = [block] if ahead == behind else [_padding(ahead, behind), block]
    return Lowered(_channels_first(*blocks), tensors)


@lower.register
def _(layer: spec.MaxPool1D, place: Place) -> Lowered:
    return Lowered(_channels_first(nn.MaxPool1D(layer.size, layer.step)))


def _channels_first(*blocks: Any) -> Any:
    """Blocks that read and give (batch, channels, time), MXNet's only layout for them."""
    there, back = (nn.HybridLambda(lambda F, x: F.transpose(x, axes=(0, 2, 1))) for _ in range(2))
    return after(there, *blocks, back)


def _padding(ahead: int, behind: int) -> Any:
    """Zeros at both ends of (batch, channels, time). MXNet's convolution takes one width for both, and its
    `pad` no less than four axes.
    """
    width = (0, 0, 0, 0, 0, 0, ahead, behind)

    def pad(F: Any, x: Any) -> Any:
        image = F.expand_dims(x, axis=2)
        return F.reshape(F.pad(image, mode="constant", pad_width=width), shape=(0, 0, -3))

    return nn.HybridLambda(pad)
