"""Planted faults: programs that are nearly the spec. The proof must catch every one, in every framework.

What is here changes a program before it is built, or what was built, from outside; what is in
`tests.fault_patches` changes a framework's own code. A fault is on the smallest program of the proving ground
that has the word it is in.
"""

from tests.faults import attention, generation, layers, recurrent, training
from tests.faults.fault import Fault

FAULTS: dict[str, Fault] = {
    **layers.FAULTS,
    **training.FAULTS,
    **recurrent.FAULTS,
    **attention.FAULTS,
    **generation.FAULTS,
}
"""Faults that can be planted in any framework from outside."""

PATCHES: dict[str, tuple[str, str]] = {
    "Adam's epsilon before the bias correction": ("portfolio", "epsilon_first"),
    "dropout left on in evaluation": ("momentum", "dropout_left_on"),
    "RMSProp's epsilon outside of the root": ("pixels", "epsilon_outside"),
    "the learning rate inside of the velocity": ("vectors", "rate_inside"),
    "clipping by tensor for all together": ("vectors", "clipped_by_tensor"),
    "bilinear upsampling for nearest": ("pixels", "bilinear"),
}
"""Faults inside a framework's own code: the program they are in, and the function of `tests.fault_patches`
that plants one and gives the function that takes it out again.
"""
