"""Architectures: small functions in `suites/architectures/` that return a model, or several by name."""

from __future__ import annotations

import importlib.util
import inspect
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harness.errors import unknown
from harness.plan.suite import suite_folder
from harness.spec import codec
from harness.spec.codec import SpecError
from harness.spec.model import Model

GIVEN = ("shape", "classes")
"""Arguments that the data set gives."""


def build_models(
    name: str, beside: Path, shape: tuple[int, ...], classes: int, arguments: Mapping[str, Any]
) -> dict[str, Model]:
    """Call the function `name` of `architectures/<name>.py`, beside the suite file or in the checkout.

    A single model is called `model`.

    Raises SpecError at `architecture` for an unknown name and at `model` for arguments that do not fit.
    """
    function = _function(name, beside)
    signature = inspect.signature(function)
    hints = typing.get_type_hints(function)
    optional = {key: value for key, value in signature.parameters.items() if key not in GIVEN}
    given: dict[str, Any] = {"shape": shape, "classes": classes}
    values = {key: value for key, value in given.items() if key in signature.parameters}
    for key, value in arguments.items():
        if key not in optional:
            raise SpecError(str(unknown("argument", key, optional)), ("model", key))
        try:
            values[key] = codec.decode(hints[key], value)
        except SpecError as error:
            raise error.under("model", key) from None
    for key, parameter in optional.items():
        if parameter.default is inspect.Parameter.empty and key not in values:
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
