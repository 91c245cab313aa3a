"""Faults in losses, optimizers, schedules, clipping, updates and the order of batches."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from harness.spec.losses import BinaryCrossEntropy, CrossEntropy, Sharpe
from harness.spec.optimizers import SGD, Adam
from harness.spec.penalties import L2
from harness.spec.program import Program, Term, Update
from harness.spec.schedules import Schedule
from tests.faults.changes import clipping, loss, of, optimizer, schedule, terms, updates
from tests.faults.fault import Fault, changed, wrapped
from tests.faults.wraps import BatchesSwapped, GeneratorAlone, Given, Placed, UpdatesSwapped
from tests.proving_ground import BATCH, CLASSES, SHAPE
from tests.sequence_ground import TIME

PIXELS = SHAPE[0] * SHAPE[1]


@dataclass(frozen=True)
class Shifted(Schedule):
    """Another schedule, some steps on."""

    right: Schedule
    steps: int

    def rate(self, done: Any, xp: Any = np) -> Any:
        """The rate that is due after so many steps more."""
        return self.right.rate(done + self.steps, xp)


def _faster(update: Update) -> Update:
    assert isinstance(update.optimizer, (SGD, Adam))
    assert isinstance(update.optimizer.learning_rate, float)
    optimizer = replace(update.optimizer, learning_rate=update.optimizer.learning_rate * 1.01)
    return replace(update, optimizer=optimizer)


def _coupled(update: Update) -> Update:
    """The penalty acts on the tensors that decay: the kernels."""
    assert isinstance(update.optimizer, Adam)
    penalty = L2(update.optimizer.weight_decay / 2)
    return replace(update, optimizer=replace(update.optimizer, weight_decay=0.0), penalties=(penalty,))


def _scaled_up(program: Program) -> Program:
    """A limit that every gradient exceeds, and as much more rate: to the norm, whatever it was before."""
    share = 2.0**-20
    faster = schedule(lambda rate: replace(rate, start=rate.start / share, end=rate.end / share))
    return clipping(share)(faster(program))


def _over_the_others(term: Term) -> Term:
    """What would be the label's part of the smoothing goes to the other classes."""
    assert isinstance(term.loss, CrossEntropy)
    smoothing = term.loss.label_smoothing * CLASSES / (CLASSES - 1)
    return replace(term, loss=replace(term.loss, label_smoothing=smoothing))


def _saturating(term: Term) -> Term:
    """Away from "false" for towards "true"."""
    return replace(term, loss=BinaryCrossEntropy(0.0), weight=-1.0)


def _over_padding_too(term: Term) -> Term:
    return replace(term, inputs=term.inputs[:-1])


def _divided_by_positions(term: Term) -> Term:
    """The sum over tokens, divided by the number of positions."""
    assert isinstance(term.loss, CrossEntropy)
    return replace(term, loss=replace(term.loss, reduction="sum"), weight=1 / (BATCH * TIME))


def _each_example_alike(arrays: Given) -> Given:
    """With weights that add up to one in each example the mean is that of the examples' means."""
    weights = arrays["weights"]
    return {"weights": weights / weights.sum(1, keepdims=True)}


def _sample_variance(term: Term) -> Term:
    """-mean / sqrt(k variance + epsilon) with k = n / (n - 1), by the words that there are."""
    assert isinstance(term.loss, Sharpe)
    k = BATCH / (BATCH - 1)
    return replace(term, loss=Sharpe(term.loss.epsilon / k), weight=1 / math.sqrt(k))


FAULTS: dict[str, Fault] = {
    "one batch out of order": Fault("gelu", wrapped(BatchesSwapped)),
    "loss summed for averaged": Fault("gelu", changed(loss(reduction="sum"))),
    "label smoothing left out": Fault("vectors", changed(loss(label_smoothing=0.0))),
    "label smoothing over the other classes alone": Fault("vectors", changed(terms(_over_the_others))),
    "cross-entropy summed over positions": Fault(
        "pixels", changed(terms(lambda term: replace(term, weight=float(PIXELS))))
    ),
    "loss averaged over padding too": Fault("tied", changed(terms(_over_padding_too))),
    "loss of tokens divided by positions": Fault("tied", changed(terms(_divided_by_positions))),
    "mean of each example's mean": Fault("tied", wrapped(Placed(_each_example_alike))),
    "binary cross-entropy summed for averaged": Fault("masks", changed(loss(reduction="sum"))),
    "objectness alike where there is no object": Fault("detector", changed(loss(no_object=1.0))),
    "coordinates weighted as all else": Fault("detector", changed(loss(coordinate=1.0))),
    "the Sharpe ratio with the sample's variance": Fault("portfolio", changed(terms(_sample_variance))),
    "the Sharpe ratio for minus it": Fault(
        "portfolio", changed(terms(lambda term: replace(term, weight=-1.0)))
    ),
    "learning rate off by 1 %": Fault("grid", changed(updates(_faster))),
    "Adam's learning rate off by 1 %": Fault("portfolio", changed(updates(_faster))),
    "L2 coupled for decoupled": Fault("tied", changed(updates(_coupled))),
    "decay on shifts and scales too": Fault("tied", changed(optimizer(decays="all"))),
    "momentum's decay left out": Fault("vectors", changed(optimizer(weight_decay=0.0))),
    "momentum's decay on biases too": Fault("vectors", changed(optimizer(decays="all"))),
    "a penalty's rate for the decay": Fault("vectors", changed(optimizer(weight_decay=0.05))),
    "RMSProp's decay 0.99 for 0.9": Fault("pixels", changed(optimizer(rho=0.99))),
    "a schedule one step ahead": Fault("masks", changed(schedule(lambda rate: Shifted(rate, 1)))),
    "a schedule one step behind": Fault("gelu", changed(schedule(lambda rate: Shifted(rate, -1)))),
    "warm-up left out": Fault("gelu", changed(schedule(lambda rate: replace(rate, warmup=0)))),
    "clipping left out": Fault("vectors", changed(updates(lambda update: replace(update, clip_norm=None)))),
    "clipping to another norm": Fault("vectors", changed(clipping(1.01))),
    "small gradients scaled up to the norm": Fault("vectors", changed(_scaled_up)),
    "updates in the other order": Fault(
        "duel", changed(lambda program: replace(program, updates=program.updates[::-1]), UpdatesSwapped)
    ),
    "an update that moves the other model too": Fault(
        "duel",
        changed(
            of("deceive", lambda update: replace(update, moves=("generator", "discriminator"))),
            GeneratorAlone,
        ),
    ),
    "a term's weight left out": Fault("duel", changed(terms(lambda term: replace(term, weight=1.0)))),
    "the generator's loss that saturates": Fault(
        "duel",
        changed(of("deceive", lambda update: replace(update, terms=tuple(map(_saturating, update.terms))))),
    ),
}
