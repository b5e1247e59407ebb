"""What a spider wants kept: taken through its pipeline, checked, and encoded once, byte for byte as it is stored."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from pathlib import PurePath
from types import UnionType
from typing import Annotated, Any, TypeAlias, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct

from crawler.errors import escaped
from crawler.models import Item, Request

Step: TypeAlias = Callable[[Any], object]  # Any: each step declares the type of item that it knows

MAX_BYTES = 16 << 20  # of an item's JSON
MAX_KEPT = 1 << 20  # of each field of an item in quarantine

# What an item's own methods, or the libraries that read it, raise for what they cannot take.
_FAULTS = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError),
    msgspec.MsgspecError,
)


def is_item(value: object) -> bool:
    """Whether it can be kept: a dict, or an instance of a dataclass, msgspec Struct, attrs or pydantic class."""
    return isinstance(value, dict) or _names(value) is not None


async def refined(item: object, pipeline: Sequence[Step]) -> object | None:
    """The item as the last step leaves it, or None if a step dropped it.

    A step takes an item and returns it, another one, None, or an awaitable of these; plain functions cost no await.
    """
    for step in pipeline:
        result = step(item)
        if hasattr(result, "__await__"):
            result = await result
        if result is None:
            return None
        item = result
    return item


def encode(item: object) -> Item:
    """The item as JSON, named after its class unless it is a dict. Nothing is refused.

    Dates become ISO 8601, Decimals, UUIDs and paths text, bytes base64, sets lists. What is no item, breaks its own
    annotations as far as msgspec can express them, has no JSON (NaN and infinity too), or is longer than 16 MiB comes
    back with ``quarantine`` saying so, each field at fault by name, and with the best JSON that can be made of it. A
    field without JSON is kept as Python shows it; where there is one, or the item is too long, any over 1 MiB is cut.
    """
    kind = "" if isinstance(item, dict) else type(item).__name__
    try:
        body = _encode(_plain(item) if kind else item).decode()
        if "null" in body:  # so msgspec writes what JSON has no number for
            _refuse_infinite(item)
    except _FAULTS as error:
        return _salvaged(item, kind, str(error))
    if len(body) > MAX_BYTES:
        return _salvaged(item, kind, f"{len(body):,} bytes of JSON are more than {MAX_BYTES:,}")
    return Item(kind, body, _flaw(item) if kind else None)


def _plain(item: object) -> object:
    if hasattr(item, "model_dump"):
        return item.model_dump(mode="json", warnings="error")
    if hasattr(item, "__attrs_attrs__"):  # msgspec would put its fields in another order, and leave private ones out
        return dict(_contents(item))
    return item


def _flaw(item: object) -> str | None:
    """What is wrong with a typed item, though it can be encoded."""
    if _names(item) is None:
        return f"{type(item).__name__} is no item; yield a dict, dataclass, msgspec Struct, attrs or pydantic object"
    kind: type = type(item)
    try:
        msgspec.convert(item, _checker(kind), from_attributes=True)
    except _FAULTS as error:
        return escaped(str(error))
    return None


def _foreign(value: object) -> object:
    """What msgspec can encode in place of what it cannot."""
    for kind in (str, int, float):  # their subclasses, such as numpy's float64
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence | AbstractSet) and not isinstance(value, list | tuple | frozenset):
        return list(value)  # the others are here as keys of a dict, where no list will do
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", warnings="error")
    raise TypeError(f"{type(value).__name__} has no JSON")


_encode = msgspec.json.Encoder(enc_hook=_foreign).encode


def _names(value: object) -> tuple[str, ...] | None:
    kind: type = type(value)
    return _fields(kind)


@lru_cache(maxsize=1024)
def _fields(kind: type) -> tuple[str, ...] | None:
    """The names of a typed item's fields; None for a class of other things."""
    if issubclass(kind, Struct):
        return None if issubclass(kind, Request) else kind.__struct_fields__
    if dataclasses.is_dataclass(kind):
        return tuple(field.name for field in dataclasses.fields(kind))
    if hasattr(kind, "__attrs_attrs__"):
        return tuple(attribute.name for attribute in kind.__attrs_attrs__)
    if hasattr(kind, "model_fields") and hasattr(kind, "model_dump"):
        return tuple(kind.model_fields)
    return None


@lru_cache(maxsize=1024)
def _checker(kind: type, within: tuple[type, ...] = ()) -> type[Struct]:
    """A Struct with the fields of `kind` to hold an item against, so that no code of its own class runs again."""
    try:
        hints = get_type_hints(kind, include_extras=True)
    except (AttributeError, NameError, TypeError):  # names that only a type checker knows
        hints = {}
    names = () if hasattr(kind, "model_dump") else _fields(kind) or ()  # pydantic has checked, and checks as it dumps
    return msgspec.defstruct(kind.__name__, [(name, _checkable(hints.get(name), (*within, kind))) for name in names])


def _checkable(hint: object, within: tuple[type, ...]) -> object:
    checked = _replaced(hint, within)
    try:
        msgspec.json.Decoder(checked)
    except (NameError, TypeError):  # a union of two dataclasses, say
        return object
    return checked


def _replaced(hint: Any, within: tuple[type, ...]) -> Any:
    """The annotation with a checker in place of each class of typed items, but for one that holds its own kind."""
    if hint is None:
        return object
    if isinstance(hint, type) and _fields(hint) is not None:
        return hint if hint in within else _checker(hint, within)
    arguments = get_args(hint)
    inner = tuple(_replaced(argument, within) for argument in arguments)
    if inner == arguments:
        return hint
    origin = get_origin(hint)
    if origin is Annotated:
        return Annotated[(inner[0], *hint.__metadata__)]
    return Union[inner] if origin in {Union, UnionType} else origin[inner]  # noqa: UP007 -- of a tuple


def _refuse_infinite(value: object) -> None:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("NaN and infinity are not JSON")
    elif not isinstance(value, str | int | None):
        for _, inner in _contents(value):
            _refuse_infinite(inner)


def _contents(value: object) -> Iterable[tuple[object, object]]:
    if isinstance(value, Mapping):
        return value.items()
    if isinstance(value, list | tuple | AbstractSet):
        return enumerate(value)
    return [(name, getattr(value, name, None)) for name in _names(value) or ()]


def _salvaged(item: object, kind: str, reason: str) -> Item:
    """The fields that can be encoded as they are, and the others as Python shows them."""
    if not is_item(item):
        return Item(kind, _encode(_shown(item)).decode(), escaped(f"no item: {reason}"))
    kept: dict[str, object] = {}
    flaws: list[str] = []
    for key, value in _contents(item):
        name = _shown(key) if not isinstance(key, str) else _utf8(key)
        try:
            kept[name] = _kept(value)
        except _FAULTS as error:
            kept[name] = _shown(value)
            flaws.append(f"{name}: {error}")
    return Item(kind, _encode(kept).decode(), escaped("; ".join(flaws) or reason))


def _kept(value: object) -> msgspec.Raw:
    text = _encode(value)
    if len(text) > MAX_KEPT:
        raise ValueError(f"{len(text):,} bytes, cut to {MAX_KEPT:,} characters")
    _refuse_infinite(value)
    return msgspec.Raw(text)


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except _FAULTS:
        text = object.__repr__(value)
    return _utf8(text[:MAX_KEPT])


def _utf8(text: str) -> str:
    """The text, lone surrogates written out, since no JSON can hold them."""
    return text.encode("utf-8", "backslashreplace").decode()
