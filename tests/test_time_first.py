"""Which sequences may travel with their time first, and whose loss does not care."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.spec.layers import GRU, LSTM, Dense, Dropout, Embedding, GlobalAvgPool1D, LayerNorm, Positions
from harness.spec.losses import CrossEntropy, MeanSquaredError
from harness.spec.model import Model, Node, sequential
from harness.spec.program import Term
from harness.spec.reference import Reference
from harness.spec.tape import Array
from harness.spec.time_first import left_time_first, time_first, turns
from tests.proving_ground import arrays, initial
from tests.sequence_ground import SEQUENCES


def chain(*layers: object) -> Model:
    return sequential((6,), *layers, dtype="int")  # type: ignore[arg-type]


def test_it_begins_at_the_embedding_and_goes_on_to_the_logits() -> None:
    model = chain(Embedding(9, 4), Dropout(0.1), LSTM(5), LayerNorm(), Dense(9))
    assert time_first(model) == {"embedding1", "dropout1", "lstm1", "layer_norm1", "dense1"}


def test_it_ends_where_steps_are_mixed_and_does_not_begin_where_places_matter() -> None:
    model = chain(Embedding(9, 4), Positions("learned"), GRU(5), GlobalAvgPool1D(), Dense(2))
    assert time_first(model) == {"gru1"}


def test_what_another_layer_reads_too_stays_as_it_is() -> None:
    shared = chain(Embedding(9, 4), LSTM(5))
    nodes = (*shared.nodes, Node("global_avg_pool1d1", GlobalAvgPool1D(), ("embedding1",)))
    model = replace(shared, nodes=nodes, outputs=("lstm1", "global_avg_pool1d1"))
    assert time_first(model) == {"lstm1"}


def test_states_are_read_as_they_are() -> None:
    node = Node("lstm1", LSTM(5, initial=True), ("x", "hidden", "cell"))
    assert turns(node, frozenset({"lstm1"})) == (True, False, False)
    assert turns(node, frozenset({"lstm1", "x"})) == (False, False, False)
    assert turns(Node("dense1", Dense(2), ("x",)), frozenset({"x"})) == (True,)


LEFT = {
    name: program
    for name, program in SEQUENCES.items()
    if any(left_time_first(program, update) for update in program.updates)
}


def test_of_the_proving_grounds_programs_some_are_left_so_and_most_are_not() -> None:
    assert LEFT
    assert len(LEFT) < len(SEQUENCES)


@pytest.mark.parametrize("name", LEFT)
def test_another_loss_or_a_second_reader_forbids_it(name: str) -> None:
    program = LEFT[name]
    (update,) = program.updates
    (call,) = left_time_first(program, update)
    (term,) = update.terms
    squares = replace(update, terms=(Term(MeanSquaredError(), (call, call)),))
    assert not left_time_first(program, squares)
    both = replace(update, terms=(term, Term(MeanSquaredError(), (call, call))))
    assert not left_time_first(program, both)


@pytest.mark.parametrize("name", LEFT)
def test_the_order_of_positions_changes_nothing_for_the_loss(name: str) -> None:
    program = LEFT[name]
    (update,) = program.updates
    (term,) = update.terms
    assert isinstance(term.loss, CrossEntropy)
    batch = {array: values[:4] for array, values in arrays(program).items()}
    reference = Reference(program.without_randomness(), initial(program))
    values, _ = reference._run(update.calls, batch, reference._arrays(), training=True)
    compared = [values[each].value for each in term.inputs]
    turned = [np.swapaxes(value, 0, 1) for value in compared]
    one, other = (term.loss.apply(*map(Array, given)).value for given in (compared, turned))
    assert np.allclose(one, other, rtol=1e-12)
