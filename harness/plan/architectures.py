"""Architectures: small functions in `suites/architectures/` that return a model, or several by name."""

from __future__ import annotations

import importlib.util
import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import unknown
from harness.plan.suite import suite_folder
from harness.spec import codec
from harness.spec.codec import SpecError
from harness.spec.layers.base import Shape
from harness.spec.model import Model

GIVEN = ("shape", "classes", "shapes", "tokens")
"""Arguments that the data set gives: see `Given`."""


@dataclass(frozen=True)
class Given:
    """What an architecture can ask of the data: the `shapes` of one example of all arrays, by name, and that
    of x; how many numbers a model is to give for one decision (`classes`: of a language they are its tokens);
    and how many `tokens` x can have, 0 where it has none, which an architecture must have a default for.
    """

    shapes: Mapping[str, Shape]
    classes: int
    tokens: int = 0

    @property
    def shape(self) -> Shape:
        """That of x."""
        return self.shapes["x"]


class _Shapes(dict[str, Shape]):
    """Shapes of arrays, of which an architecture may ask for one that the data do not have."""

    def __missing__(self, name: str) -> Shape:
        raise SpecError(f"needs the array {name!r}; the data have {', '.join(self)}", ("architecture",))


def build_models(name: str, beside: Path, data: Given, arguments: Mapping[str, Any]) -> dict[str, Model]:
    """Call the function `name` of `architectures/<name>.py`, beside the suite file or in the checkout.

    A single model is called `model`.

    Raises SpecError at `architecture` for an unknown name and at `model` for arguments that do not fit.
    """
    function = _function(name, beside)
    signature = inspect.signature(function)
    hints = typing.get_type_hints(function)
    optional = {key: value for key, value in signature.parameters.items() if key not in GIVEN}
    values: dict[str, Any] = {key: getattr(data, key) for key in GIVEN if key in signature.parameters}
    needed = {key for key, each in signature.parameters.items() if each.default is inspect.Parameter.empty}
    if "tokens" in needed and not data.tokens:
        raise SpecError(f"{name} is for tokens, and these data have none", ("architecture",))
    if "shapes" in values:
        values["shapes"] = _Shapes(data.shapes)
    for key, value in arguments.items():
        if key not in optional:
            raise SpecError(str(unknown("argument", key, optional)), ("model", key))
        try:
            values[key] = codec.decode(hints[key], value)
        except SpecError as error:
            raise error.under("model", key) from None
    for key in optional:
        if key in needed and key not in values:
            raise SpecError(f"{name} needs the argument {key!r}", ("model",))
    built = function(**values)
    return {"model": built} if isinstance(built, Model) else dict(built)


def _function(name: str, beside: Path) -> Callable[..., Model | dict[str, Model]]:
    folders = [beside / "architectures", suite_folder() / "architectures"]
    found = {path.stem: path for folder in reversed(folders) for path in folder.glob("*.py")}
    if name not in found:
        raise SpecError(str(unknown("architecture", name, found)), ("architecture",))
    source = importlib.util.spec_from_file_location(f"onespec_architecture_{name}", found[name])
    assert source is not None
    assert source.loader is not None
    module = importlib.util.module_from_spec(source)
    try:
        source.loader.exec_module(module)
        return typing.cast("Callable[..., Model | dict[str, Model]]", getattr(module, name))
    except AttributeError:
        raise SpecError(f"{found[name]} defines no function {name!r}", ("architecture",)) from None
    except Exception as error:
        raise SpecError(f"{found[name]} cannot be loaded: {error}", ("architecture",)) from error
