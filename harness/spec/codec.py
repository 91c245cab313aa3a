"""Dataclasses to canonical JSON and back, with errors that name the field.

A spec is a tree of frozen dataclasses. Its JSON form spells out every field, so that a record can be read
years later without knowing the defaults of its day. A field that came `later` is left out where it says what
was meant before it was there, so that what was written before keeps its fingerprint. Families of
alternatives (layers, losses, optimizers) are subclasses registered under a name, which stands in the JSON as
`"type"`.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from harness.errors import UsageError, unknown

T = TypeVar("T")
C = TypeVar("C", bound=type)

LANGUAGE = 1
"""The version of the spec language. It is part of every fingerprint."""

_FAMILIES: dict[type, dict[str, type]] = {}


class SpecError(UsageError):
    """A mistake in a spec. `path` says where: `("model", "nodes", 2, "layer", "units")`."""

    def __init__(self, message: str, path: tuple[str | int, ...] = ()) -> None:
        self.message = message
        self.path = path
        super().__init__(f"{dotted(path)}: {message}" if path else message)

    def under(self, *prefix: str | int) -> SpecError:
        """The same error seen from further up the tree."""
        return SpecError(self.message, (*prefix, *self.path))


def dotted(path: tuple[str | int, ...]) -> str:
    """`("nodes", 2, "units")` as `nodes[2].units`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def later(default: Any) -> Any:
    """A field that the language did not have at first; `default` is what was meant without it."""
    return dataclasses.field(default=default, metadata={"later": True})


def family(base: C) -> C:
    """Make `base` the root of a family of alternatives."""
    _FAMILIES[base] = {}
    return base


def member(name: str) -> Callable[[C], C]:
    """Register a dataclass in its family under `name`."""

    def register(cls: C) -> C:
        _family_of(cls)[name] = cls
        return cls

    return register


def members(base: type) -> dict[str, type]:
    """The alternatives of a family by name."""
    return dict(_FAMILIES[base])


def name_of(value: object) -> str:
    """The name under which the class of `value` stands in its family: `name_of(Dense(...)) == "dense"`."""
    cls = type(value)
    return next(name for name, registered in _family_of(cls).items() if registered is cls)


def _family_of(cls: type) -> dict[str, type]:
    return _FAMILIES[_root(cls)]


def _root(cls: type) -> type:
    return next((base for base in cls.__mro__ if base in _FAMILIES), cls)


def encode(value: object) -> Any:
    """A spec value as plain JSON data (dicts, lists, strings, numbers)."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        hints = _hints(type(value))
        data = {
            field.name: _as_hinted(encode(getattr(value, field.name)), hints[field.name])
            for field in dataclasses.fields(value)
            if not (field.metadata.get("later") and getattr(value, field.name) == field.default)
        }
        if _root(type(value)) in _FAMILIES:
            data["type"] = name_of(value)
        return data
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(item) for item in value]
    return value


def _as_hinted(data: Any, hint: Any) -> Any:
    """An integer given for a float field is that float, so that 1 and 1.0 have one fingerprint."""
    if type(data) is int and float in (hint, *get_args(hint)):
        return float(data)
    return data


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def canonical(value: object) -> str:
    """The one JSON text of a spec value: sorted keys, no spaces, shortest round-trip floats.

    Raises SpecError where `decode` would: what was built in Python is held to the same rules as what is read.
    """
    data = encode(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        # A member's data have a type, which its family reads.
        data = encode(_decode(_root(type(value)), data))
    try:
        return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except ValueError as error:
        raise SpecError("every number in a spec must be finite") from error


def fingerprint(value: object, *also: str) -> str:
    """SHA-256 (hex) over the language version, the canonical JSON of `value` and further texts."""
    digest = hashlib.sha256(f"onespec language {LANGUAGE}\n{canonical(value)}".encode())
    for text in also:
        digest.update(b"\n" + text.encode())
    return digest.hexdigest()


def decode(cls: type[T], data: Any) -> T:
    """JSON data as an instance of `cls`.

    Raises SpecError naming the field: a wrong type, a missing or unknown field, an unknown alternative, or
    what the class itself refuses.
    """
    return typing.cast(T, _decode(cls, data))


def _decode(hint: Any, data: Any) -> Any:
    if hint is Any:
        return data
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _decode_union(get_args(hint), data)
    if origin is Literal:
        if data not in get_args(hint):
            raise SpecError(str(unknown("value", str(data), [str(choice) for choice in get_args(hint)])))
        return data
    if origin is tuple:
        return _decode_tuple(get_args(hint), data)
    if origin is dict:
        _require(isinstance(data, Mapping), "a table", data)
        return {str(key): _at(key, get_args(hint)[1], item) for key, item in data.items()}
    if hint in _FAMILIES:
        return _decode_member(hint, data)
    if dataclasses.is_dataclass(hint):
        return _decode_fields(typing.cast(type, hint), data)
    return _decode_scalar(hint, data)


def _decode_scalar(hint: Any, data: Any) -> Any:
    if hint is float:
        _require(isinstance(data, (int, float)) and not isinstance(data, bool), "a number", data)
        if not math.isfinite(data):
            raise SpecError(f"must be a finite number, got {data!r}")
        return float(data)
    if hint is int:
        _require(isinstance(data, int) and not isinstance(data, bool), "an integer", data)
    elif hint is bool:
        _require(isinstance(data, bool), "true or false", data)
    elif hint is str:
        _require(isinstance(data, str), "a string", data)
    elif hint is type(None):
        _require(data is None, "null", data)
    else:
        raise TypeError(f"the codec has no rule for {hint!r}")
    return data


def _decode_union(choices: tuple[Any, ...], data: Any) -> Any:
    if data is None and type(None) in choices:
        return None
    errors = []
    given = [choice for choice in choices if choice is not type(None)]
    for choice in [choice for choice in given if _same_kind(choice, data)] or given:
        try:
            return _decode(choice, data)
        except SpecError as error:
            errors.append(error)
    # The alternative that got furthest into the data is the one that was meant.
    raise max(errors, key=lambda error: len(error.path))


def _same_kind(hint: Any, data: Any) -> bool:
    """Whether `data` looks like what `hint` wants, whatever is wrong inside of it."""
    origin = get_origin(hint)
    if origin is Literal:
        return isinstance(data, tuple(type(choice) for choice in get_args(hint)))
    return origin is not tuple or isinstance(data, (list, tuple))


def _decode_tuple(hints: tuple[Any, ...], data: Any) -> tuple[Any, ...]:
    _require(isinstance(data, (list, tuple)), "a list", data)
    if len(hints) == 2 and hints[1] is Ellipsis:
        hints = (hints[0],) * len(data)
    if len(hints) != len(data):
        raise SpecError(f"must have {len(hints)} items, got {len(data)}")
    return tuple(_at(index, hint, item) for index, (hint, item) in enumerate(zip(hints, data, strict=True)))


def _decode_member(base: type, data: Any) -> Any:
    _require(isinstance(data, Mapping), "a table", data)
    kind = base.__name__.lower()
    if "type" not in data:
        raise SpecError(f"needs a type: one of {', '.join(sorted(_FAMILIES[base]))}")
    name = str(data["type"])
    if name not in _FAMILIES[base]:
        raise SpecError(str(unknown(kind, name, _FAMILIES[base])), ("type",))
    return _decode_fields(_FAMILIES[base][name], {key: item for key, item in data.items() if key != "type"})


def _decode_fields(cls: type, data: Any) -> Any:
    _require(isinstance(data, Mapping), "a table", data)
    hints = _hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for key in data:
        if key not in fields:
            raise SpecError(str(unknown("field", str(key), fields)), (str(key),))
    values = {}
    for name, field in fields.items():
        if name in data:
            values[name] = _at(name, hints[name], data[name])
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise SpecError("is missing", (name,))
    return cls(**values)


def _at(step: str | int, hint: Any, data: Any) -> Any:
    try:
        return _decode(hint, data)
    except SpecError as error:
        raise error.under(step) from None


def _require(holds: bool, wanted: str, data: Any) -> None:
    if not holds:
        raise SpecError(f"must be {wanted}, got {data!r}")
