"""Recurrent layers: TensorFlow has no layer for them. Each is a loop over its cell, with the loop's gradient.

Differentiating a loop accumulates the recurrent kernel's gradient step by step, a product of few rows each
time. Written out, the way back computes it in one product over all steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from harness.spec.layers.recurrent import Recurrent

from .cells import Cell, Tensors, cell_of
from .layers import Pass, lower, project
from .variables import Variables

Body = Callable[..., tuple[Tensors, Tensors]]


class Unrolled:
    """Every step has ops of its own. A sequence is a list of its steps."""

    def steps(self, sequence: tf.Tensor) -> list[tf.Tensor]:
        """A tensor step by step: time first, each is where it was, and nothing is copied."""
        return tf.unstack(sequence)

    def whole(self, steps: Sequence[tf.Tensor]) -> tf.Tensor:
        """Steps as one tensor."""
        return tf.stack(steps)

    def scan(
        self, body: Body, carry: Tensors, given: Sequence[Any], widths: Sequence[int], backwards: bool
    ) -> tuple[Tensors, list[Any]]:
        """`body(carry, *given[step])` for each step: the last carry, and the sequences that it found."""
        time = range(len(given[0]))
        found: list[Tensors] = []
        for step in reversed(time) if backwards else time:
            carry, fresh = body(carry, *[sequence[step] for sequence in given])
            found.append(fresh)
        return carry, list(zip(*(found[::-1] if backwards else found), strict=True))


class Rolled:
    """One `tf.while_loop`, which XLA compiles once. A sequence is a tensor."""

    def steps(self, sequence: tf.Tensor) -> tf.Tensor:
        """As it is."""
        return sequence

    def whole(self, steps: tf.Tensor) -> tf.Tensor:
        """As it is."""
        return steps

    def scan(
        self, body: Body, carry: Tensors, given: Sequence[Any], widths: Sequence[int], backwards: bool
    ) -> tuple[Tensors, list[Any]]:
        """As `Unrolled.scan`."""
        time, batch = given[0].shape[:2]
        arrays = tuple(tf.TensorArray(given[0].dtype, time, element_shape=(batch, width)) for width in widths)

        def once(number: tf.Tensor, carry: Tensors, arrays: tuple[Any, ...]) -> tuple[Any, ...]:
            step = time - 1 - number if backwards else number
            carry, fresh = body(carry, *[sequence[step] for sequence in given])
            written = [array.write(step, value) for array, value in zip(arrays, fresh, strict=True)]
            return number + 1, tuple(carry), tuple(written)

        _, carry, arrays = tf.while_loop(
            lambda number, *_: number < time, once, (0, tuple(carry), arrays), maximum_iterations=time
        )
        found = [array.stack() for array in arrays]
        for sequence, width in zip(found, widths, strict=True):
            sequence.set_shape((time, batch, width))
        return carry, found


UNROLLED, ROLLED = Unrolled(), Rolled()


@lower.register
def _(layer: Recurrent, variables: Variables, this: Pass, *inputs: tf.Tensor) -> Tensors:
    x, *rest = inputs
    lengths = rest.pop(0) if layer.lengths else None
    first = rest or [tf.zeros((x.shape[1], *shape), x.dtype) for shape in layer.further_shapes()]
    found = []
    for number, prefix in enumerate(layer.directions):
        part = slice(number * layer.units, (number + 1) * layer.units)
        states = [state[:, part] for state in first]
        cell = cell_of(layer, {name: variables[prefix + name] for name in layer.names})
        given = _turned(x, lengths) if prefix else x
        output, *last = _read(cell, variables[f"{prefix}kernel"], this, given, lengths, states)
        found.append((_turned(output, lengths) if prefix else output, *last))
    return tuple(tf.concat(parts, -1) if len(found) > 1 else parts[0] for parts in zip(*found, strict=True))


def _turned(x: tf.Tensor, lengths: tf.Tensor | None) -> tf.Tensor:
    """The last real step first; padding stays behind."""
    if lengths is None:
        return tf.reverse(x, [0])
    return tf.reverse_sequence(x, lengths, seq_axis=0, batch_axis=1)


def _read(
    cell: Cell,
    kernel: tf.Variable,
    this: Pass,
    x: tf.Tensor,
    lengths: tf.Tensor | None,
    states: Sequence[tf.Tensor],
) -> Tensors:
    """One direction's output (time, batch, units) and last states."""
    time, batch, _ = x.shape
    real = None if lengths is None else (tf.range(time, dtype=lengths.dtype)[:, tf.newaxis] < lengths)
    projected = project(x, kernel, cell.bias)
    if real is not None and cell.padding is not None:
        projected = tf.where(real[..., tf.newaxis], projected, tf.constant(cell.padding, x.dtype))
    loop = ROLLED if this.compiled else UNROLLED
    output, *last = _looped(cell, loop, projected, states)
    if lengths is None:
        return output, *last
    rows = (lengths - 1) * batch + tf.range(batch, dtype=lengths.dtype)
    hidden = tf.gather(tf.reshape(output, (time * batch, cell.units)), rows)
    return output * tf.cast(real, x.dtype)[..., tf.newaxis], hidden, *last[1:]


def _looped(
    cell: Cell, loop: Unrolled | Rolled, projected: tf.Tensor, states: Sequence[tf.Tensor]
) -> Tensors:
    """The hidden states and the last states."""
    count = len(cell.tensors)

    @tf.custom_gradient
    def run(projected: tf.Tensor, *others: tf.Tensor) -> tuple[Tensors, Callable[..., Tensors]]:
        tensors, states = others[:count], others[count:]

        def forward(states: Tensors, projected: tf.Tensor) -> tuple[Tensors, Tensors]:
            states, kept = cell.forward(tensors, projected, states)
            return states, (states[0], *kept)

        widths = (cell.units,) * (1 + cell.keeps)
        last, (hidden, *kept) = loop.scan(forward, states, [loop.steps(projected)], widths, False)
        output = loop.whole(hidden)

        def pull(d_output: tf.Tensor, *d_last: tf.Tensor) -> Tensors:
            def backward(upstream: Tensors, d_hidden: tf.Tensor, *kept: tf.Tensor) -> tuple[Tensors, Tensors]:
                return cell.backward(tensors, kept, (upstream[0] + d_hidden, *upstream[1:]))

            given = [loop.steps(d_output), *cell.prepared(kept, loop.whole, loop.steps)]
            d_states, found = loop.scan(backward, d_last, given, (cell.width,) * cell.finds, True)
            before = tf.concat((states[0][tf.newaxis], output[:-1]), 0)
            # What was found first is the gradient of `projected`, wanted as one tensor twice.
            found = [loop.whole(found[0]), *found[1:]]
            return found[0], *cell.gradients(before, kept, found, rows), *d_states

        return (output, *last), pull

    def rows(sequence: Any) -> tf.Tensor:
        tensor = loop.whole(sequence) if isinstance(sequence, tuple | list) else sequence
        return tf.reshape(tensor, (-1, tensor.shape[-1]))

    return run(projected, *cell.tensors, *states)
