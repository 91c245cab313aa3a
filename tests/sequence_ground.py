"""Programs with every word of sequences in them, small enough for a compiler to be done with soon."""

from __future__ import annotations

from typing import Any

from harness.spec.generation import Generation
from harness.spec.layers import (
    GELU,
    GRU,
    LSTM,
    RNN,
    Add,
    BatchNorm,
    Concatenate,
    Conv1D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GlobalAvgPool1D,
    LayerNorm,
    MaxPool1D,
    MultiHeadAttention,
    Positions,
    ReLU,
    Select,
    Shape,
    Softmax,
    Tanh,
    Unembedding,
)
from harness.spec.losses import CrossEntropy, MeanSquaredError, Sharpe
from harness.spec.model import Model, Network
from harness.spec.optimizers import SGD, Adam
from harness.spec.program import Call, Program, Term, Update
from harness.spec.schedules import Cosine

TIME, TARGET, FEATURES, TOKENS, WIDTH = 6, 5, 3, 11, 8
EPSILON = 1e-4
"""Adam's, large enough to be seen."""


def trained(model: Model, arrays: dict[str, Shape], loss: Any, *targets: str, **update: Any) -> Program:
    """A model on arrays called as its inputs are; `generates` names the one of generated tokens."""
    call = Call("output", "model", tuple(model.inputs))
    generation = Generation("model", update.pop("generates")) if "generates" in update else None
    given: dict[str, Any] = {"optimizer": SGD(0.1, momentum=0.9), **update}
    move = Update("train", (call,), (Term(loss, ("output", *targets)),), ("model",), **given)
    given_shapes = {name: tuple(one.shape) for name, one in model.inputs.items()}
    return Program({**given_shapes, **arrays}, {"model": model}, (move,), (call,), ("output",), generation)


def series() -> Program:
    """Each recurrent layer with one bias, stacked, from zeros and over whole sequences; the last states.

    The gradient is clipped in some of the first steps: a second bias that is kept at zero must not count.
    """
    net = Network((TIME, FEATURES))
    rnn = net.add(RNN(WIDTH), "x")
    lstm = net.add(LSTM(WIDTH), rnn)
    gru = net.add(GRU(WIDTH), net.add(LayerNorm(), lstm))
    relu = net.add(RNN(WIDTH, activation="relu"), gru)
    last = net.add(Concatenate(), net.add(Select(-1), relu), f"{lstm}.cell", f"{rnn}.hidden")
    model = net.model(net.add(Dense(1), last))
    return trained(model, {"value": (1,)}, MeanSquaredError(), "value", clip_norm=1.5)


def tagger() -> Program:
    """Each of them with two biases in both directions, over sequences that differ in length; an embedding."""
    net = Network((TIME,), "int")
    lengths = net.input("lengths")
    words = net.add(Embedding(TOKENS, WIDTH, initializer="glorot_uniform"), "x")
    both: dict[str, Any] = {"bidirectional": True, "biases": "two", "lengths": True}
    lstm = net.add(LSTM(4, **both), words, lengths)
    gru = net.add(GRU(4, **both), lstm, lengths)
    rnn = net.add(RNN(4, **both), gru, lengths)
    pooled = net.add(GlobalAvgPool1D(lengths=True), rnn, lengths)
    joined = net.add(Concatenate(), pooled, f"{lstm}.hidden", f"{lstm}.cell", f"{gru}.hidden")
    model = net.model(net.chain(joined, Dropout(0.3), Dense(3)))
    return trained(model, {"y": ()}, CrossEntropy(), "y", optimizer=Adam(1e-2, epsilon=EPSILON))


def answers() -> Program:
    """A decoder of each kind that begins with an encoder's states and attends to its outputs; the paper's
    GRU, which resets before the product.
    """
    net = Network((TIME,), "int")
    lengths, target = net.input("lengths"), net.input("target", (TARGET,))
    words = net.add(Embedding(TOKENS, WIDTH, initializer="glorot_uniform"), "x")
    encoder = net.add(LSTM(WIDTH, lengths=True), words, lengths)
    table = net.add(Embedding(TOKENS, WIDTH, initializer="glorot_uniform"), target)
    lstm = net.add(LSTM(WIDTH, initial=True), table, f"{encoder}.hidden", f"{encoder}.cell")
    gru = net.add(GRU(WIDTH, initial=True, reset="before"), lstm, f"{encoder}.hidden")
    rnn = net.add(RNN(WIDTH, initial=True), gru, f"{encoder}.cell")
    context = net.add(MultiHeadAttention(1, memory=True, lengths=True), rnn, encoder, lengths)
    mixed = net.chain(net.add(Concatenate(), rnn, context), Dense(WIDTH), Tanh(), Dense(TOKENS))
    model = net.model(mixed)
    arrays: dict[str, Shape] = {"next": (TARGET,), "weights": (TARGET,)}
    return trained(model, arrays, CrossEntropy(), "next", "weights", generates="target")


def _block(net: Network, last: str, norm_first: bool, *others: str, **attention: Any) -> str:
    """A Transformer's block: attention and two dense layers, each added to what it is given."""
    layers = (MultiHeadAttention(2, **attention), Dense(2 * WIDTH))
    given = net.add(LayerNorm(), last) if norm_first else last
    last = net.add(Add(), last, net.add(layers[0], given, *others))
    last = last if norm_first else net.add(LayerNorm(), last)
    given = net.add(LayerNorm(), last) if norm_first else last
    last = net.add(Add(), last, net.chain(given, layers[1], GELU(), Dense(WIDTH)))
    return last if norm_first else net.add(LayerNorm(), last)


def decoder() -> Program:
    """A GPT: learned positions, pre-norm, causal, tied; AdamW that decays kernels, warm-up, clipping."""
    net = Network((TIME,), "int")
    table = net.add(Embedding(TOKENS, WIDTH, initializer="glorot_uniform"), "x")
    last = net.add(Positions(most=TIME + 2), table)
    last = net.add(LayerNorm(), _block(net, last, True, causal=True, bias=False))
    model = net.model(net.add(Unembedding(TOKENS), last, shares=table))
    return trained(
        model,
        {"next": (TIME,), "weights": (TIME,)},
        CrossEntropy(),
        "next",
        "weights",
        optimizer=Adam(Cosine(1e-2, 12, warmup=3), epsilon=EPSILON, weight_decay=0.1, decays="kernels"),
        clip_norm=1.0,
        generates="x",
    )


def encoder() -> Program:
    """A BERT: post-norm, padding and causal masks together, the first step's output."""
    net = Network((TIME,), "int")
    lengths = net.input("lengths")
    last = net.chain(
        "x", Embedding(TOKENS, WIDTH, initializer="glorot_uniform"), Positions(), LayerNorm(1e-6)
    )
    # The causal block first: to its own first step alone there would be nothing to attend to.
    last = _block(net, last, False, lengths, lengths=True, causal=True)
    last = _block(net, last, False, lengths, lengths=True)
    model = net.model(net.chain(last, Select(0), Dense(WIDTH), Tanh(), Dense(3)))
    return trained(model, {"y": ()}, CrossEntropy(), "y")


def translator() -> Program:
    """The Transformer: one scaled table for both sides and the output; waves; smoothed labels."""
    net = Network((TIME,), "int")
    lengths, target = net.input("lengths"), net.input("target", (TARGET,))
    table = net.add(Embedding(TOKENS, WIDTH, scaled=True, initializer="lecun_normal"), "x")
    source = _block(net, net.add(Positions("sinusoidal"), table), False, lengths, lengths=True)
    words = net.add(Embedding(TOKENS, WIDTH, scaled=True), target, shares=table)
    past = _block(net, net.add(Positions("sinusoidal"), words), False, causal=True)
    across = _block(net, past, False, source, lengths, memory=True, lengths=True)
    model = net.model(net.add(Unembedding(TOKENS), across, shares=table))
    arrays: dict[str, Shape] = {"next": (TARGET,), "weights": (TARGET,)}
    return trained(
        model,
        arrays,
        CrossEntropy(label_smoothing=0.1),
        "next",
        "weights",
        optimizer=SGD(0.1),
        generates="target",
    )


def tones() -> Program:
    """Convolutions and pooling along time, normalized over batch and time."""
    net = Network((12, FEATURES))
    last = net.chain("x", Conv1D(6, 3, padding="same"), BatchNorm(), ReLU(), MaxPool1D())
    last = net.chain(last, Conv1D(6, 3, padding="causal", bias=False), Tanh(), MaxPool1D(3, 1))
    joined = net.add(Concatenate(), net.add(GlobalAvgPool1D(), last), net.add(Flatten(), last))
    last = net.chain(last, Conv1D(4, 2, 2), ReLU(), Flatten())
    model = net.model(net.add(Dense(3), net.add(Concatenate(), joined, last)))
    return trained(model, {"y": ()}, CrossEntropy(), "y")


def portfolio() -> Program:
    """Shares of a portfolio from past returns, for the best Sharpe ratio."""
    net = Network((TIME, FEATURES))
    model = net.model(net.chain("x", Flatten(), Dense(WIDTH), Tanh(), Dense(FEATURES), Softmax()))
    return trained(model, {"returns": (FEATURES,)}, Sharpe(1e-4), "returns", optimizer=Adam(epsilon=EPSILON))


def gates() -> Program:
    """Each recurrent layer with gates, both forms of reset, two biases; a token after each step, weighted."""
    net = Network((TIME, FEATURES))
    lstm = net.add(LSTM(4, biases="two"), "x")
    gru = net.chain(lstm, GRU(4, biases="two"), GRU(4, reset="before"))
    model = net.model(net.chain(gru, Dense(TOKENS)))
    arrays: dict[str, Shape] = {"next": (TIME,), "weights": (TIME,)}
    return trained(model, arrays, CrossEntropy(), "next", "weights")


def padded() -> Program:
    """Both directions over padded sequences and their mean; last states that another net begins with."""
    net = Network((TIME,), "int")
    lengths = net.input("lengths")
    words = net.add(Embedding(TOKENS, WIDTH, initializer="glorot_uniform"), "x")
    both = net.add(RNN(4, bidirectional=True, lengths=True), words, lengths)
    pooled = net.add(GlobalAvgPool1D(lengths=True), both, lengths)
    first = net.add(LSTM(4, lengths=True), words, lengths)
    then = net.add(LSTM(4, initial=True), words, f"{first}.hidden", f"{first}.cell")
    model = net.model(net.add(Dense(3), net.add(Concatenate(), pooled, net.add(Select(-1), then))))
    return trained(model, {"y": ()}, CrossEntropy(), "y")


def masked() -> Program:
    """Causal and padding masks together, seen by the second step and by the last one; waves."""
    net = Network((TIME,), "int")
    lengths = net.input("lengths")
    words = net.chain("x", Embedding(TOKENS, WIDTH, initializer="glorot_uniform"), Positions("sinusoidal"))
    second, last = (
        net.add(Select(step), net.add(MultiHeadAttention(2, causal=True, lengths=True), words, lengths))
        for step in (1, -1)
    )
    model = net.model(net.add(Dense(3), net.add(Concatenate(), second, last)))
    return trained(model, {"y": ()}, CrossEntropy(), "y")


def tied(norm_first: bool = True) -> Program:
    """A language model of one attention, its table scaled and tied; loss over tokens, decay of kernels."""
    net = Network((TIME,), "int")
    table = net.add(Embedding(TOKENS, WIDTH, scaled=True, initializer="glorot_uniform"), "x")
    last = net.add(Positions(most=TIME + 2), table)
    given = net.add(LayerNorm(), last) if norm_first else last
    last = net.add(Add(), last, net.add(MultiHeadAttention(2, causal=True, bias=False), given))
    last = last if norm_first else net.add(LayerNorm(), last)
    model = net.model(net.add(Unembedding(TOKENS), last, shares=table))
    arrays: dict[str, Shape] = {"next": (TIME,), "weights": (TIME,)}
    optimizer = Adam(1e-2, epsilon=EPSILON, weight_decay=0.1, decays="kernels")
    return trained(model, arrays, CrossEntropy(), "next", "weights", optimizer=optimizer)


def siblings() -> Program:
    """Attention that shares its projections: with one that reads its sequence too, and with one that reads a
    memory, so that queries, keys and values are joined in one pair of layers and apart in the other.
    """
    net = Network((TIME, WIDTH))
    first = net.add(MultiHeadAttention(2), "x")
    again = net.add(MultiHeadAttention(2, causal=True), first, shares=first)
    third = net.add(MultiHeadAttention(2), net.add(Add(), first, again))
    across = net.add(MultiHeadAttention(2, memory=True), third, again, shares=third)
    model = net.model(net.chain(across, Select(-1), Dense(1)))
    return trained(model, {"value": (1,)}, MeanSquaredError(), "value", clip_norm=1.5)


def filters() -> Program:
    """Windows of two steps: a causal one looks back, `same` has its odd step of padding at the end."""
    net = Network((TIME, FEATURES))
    last = net.chain("x", Conv1D(4, 2, padding="causal"), Tanh(), Conv1D(4, 2, padding="same"), Flatten())
    return trained(net.model(net.add(Dense(3), last)), {"y": ()}, CrossEntropy(), "y")


SHORT = {"gates": gates(), "padded": padded(), "masked": masked(), "tied": tied(), "filters": filters()}
"""Words of sequences again, in programs that take a compiler little time: for one fault after another."""

SEQUENCES = {
    "series": series(),
    "tagger": tagger(),
    "answers": answers(),
    "decoder": decoder(),
    "encoder": encoder(),
    "translator": translator(),
    "tones": tones(),
    "portfolio": portfolio(),
    "siblings": siblings(),
    **SHORT,
}
