"""What schemas of types leave out: which texts are instants, how large whole numbers may be, that no key is new."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from msgspec import inspect

MOST = 2**63 - 1  # of a whole number that is kept


def instants(types: Iterable[Any]) -> set[tuple[str, str]]:
    """Struct and field of all instants that `types` are made of."""
    return set(_instants(inspect.multi_type_info(types), set()))


def date(schemas: dict[str, Any], instants: set[tuple[str, str]]) -> None:
    """Give the texts in these fields their format."""
    for name, schema in schemas.items():
        for field, its in schema.get("properties", {}).items():
            if (name, field) in instants:
                for part in parts(its):
                    if part.get("type") == "string":
                        part["format"] = "date-time"


def close(schema: dict[str, Any]) -> None:
    """Of what is taken: no keys but these, no whole number that could not be kept."""
    for part in parts(schema):
        if "properties" in part:
            part["additionalProperties"] = False
        elif part.get("type") == "integer":
            part.setdefault("minimum", -MOST - 1)
            part.setdefault("maximum", MOST)


def parts(schema: Any) -> Iterator[dict[str, Any]]:
    """A schema and all within it."""
    if isinstance(schema, list):
        for each in schema:
            yield from parts(each)
    elif isinstance(schema, dict):
        yield schema
        for name, its in schema.items():
            yield from parts(list(its.values()) if name == "properties" else its)


def _instants(types: Iterable[Any], seen: set[Any]) -> Iterator[tuple[str, str]]:
    for kind in types:
        for each in _within(kind):
            if not isinstance(each, inspect.StructType) or each.cls in seen:
                continue
            seen.add(each.cls)
            for field in each.fields:
                if any(isinstance(its, inspect.DateTimeType) for its in _within(field.type)):
                    yield each.cls.__name__, field.encode_name
                yield from _instants([field.type], seen)


def _within(kind: Any) -> Iterator[Any]:
    """A type, and those that a value of it holds, down to structs."""
    yield kind
    if isinstance(kind, inspect.UnionType):
        for each in kind.types:
            yield from _within(each)
    elif isinstance(kind, inspect.TupleType):
        for each in kind.item_types:
            yield from _within(each)
    elif isinstance(kind, inspect.DictType):
        yield from _within(kind.value_type)
    elif isinstance(kind, inspect.CollectionType):
        yield from _within(kind.item_type)
    elif isinstance(kind, inspect.Metadata):
        yield from _within(kind.type)
