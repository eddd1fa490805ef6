"""The part of the description that derives from rows (`kit.routes`): paths, and the schemas of bodies and answers."""

from __future__ import annotations

import re
from inspect import cleandoc
from typing import Any, get_args, get_origin

import msgspec

from ticketing.desk import openapi_types
from ticketing.desk.openapi_parts import KEY, PAGED, content, filtered, in_path, refusals
from ticketing.kit.routes import Row
from ticketing.people.scope import guarded

Rows = tuple[Row, ...]
IN_PATH = {
    "id": "its `id`",
    "name": "its name",
    "number": "ticket number, such as DZ-10017",
    "terminal": "identity of the terminal",
}
_CONVERTOR = re.compile(r"\{(\w+)(?::\w+)?\}")


def row_paths(rows: Rows) -> dict[str, Any]:
    """The paths of those rows that are the API's."""
    paths: dict[str, Any] = {}
    for row in rows:
        if row.path.startswith("/api/"):
            paths.setdefault(_CONVERTOR.sub(r"{\1}", row.path), {})[row.method.lower()] = _operation(row)
    return paths


def joined_paths(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The paths of both; a path of both has the methods of both."""
    return {path: one.get(path, {}) | other.get(path, {}) for path in (*one, *other)}


def answered(rows: Rows) -> dict[str, Any]:
    """The types that rows answer with, by the names of their schemas."""
    return {_name(row.answer): row.answer for row in rows if row.answer is not None}


def kept_away(rows: Rows) -> dict[str, frozenset[str]]:
    """By the name of a schema what is left out of it for somebody."""
    return {
        (get_args(row.answer) or (row.answer,))[0].__name__: guarded(row.kind)
        for row in rows
        if row.kind is not None and row.answer is not None
    }


def body_schemas(rows: Rows, *more: Any) -> dict[str, Any]:
    """The schemas of what is taken; those of objects within end in `Input`, for what is sent has the other names."""
    bodies = [*(row.body for row in rows if row.body is not None), *more]
    _, found = msgspec.json.schema_components(bodies, ref_template="#/components/schemas/{name}")
    openapi_types.date(found, openapi_types.instants(bodies))
    names = {name: name if name in {_name(body) for body in bodies} else f"{name}Input" for name in found}
    schemas = {names[name]: _renamed(schema, names) for name, schema in found.items()}
    for schema in schemas.values():
        openapi_types.close(schema)
    return schemas


def _renamed(schema: Any, names: dict[str, str]) -> Any:
    if isinstance(schema, list):
        return [_renamed(each, names) for each in schema]
    if not isinstance(schema, dict):
        return schema
    renamed = {key: _renamed(value, names) for key, value in schema.items()}
    if isinstance(renamed.get("$ref"), str):
        folder, _, name = renamed["$ref"].rpartition("/")
        renamed["$ref"] = f"{folder}/{names[name]}"
    if isinstance(renamed.get("description"), str):
        renamed["description"] = cleandoc(renamed["description"])
    return renamed


def _operation(row: Row) -> dict[str, Any]:
    named = _CONVERTOR.findall(row.path)
    parameters = [in_path(name, IN_PATH[name]) for name in named]
    parameters += [*map(filtered, row.filters), *(PAGED if row.paged else [])]
    written = [409, 413, 422] if row.method != "GET" else []
    statuses = [400, 401, 403, *([404] if named or 404 in row.also else []), *written, 503]
    operation: dict[str, Any] = {
        "tags": [row.tag],
        "summary": row.summary,
        "parameters": parameters + ([KEY] if row.method == "POST" else []),
    }
    if row.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{_name(row.body)}"}}},
        }
    success = content(row.summary, _name(row.answer)) if row.answer is not None else {"description": row.summary}
    good = {str(status): success for status in (row.status, *row.also) if status < 400}
    return operation | {"responses": {**good, **refusals(statuses)}}


def _name(kind: Any) -> str:
    """`Page[Organisation]` is called OrganisationPage."""
    origin = get_origin(kind)
    return str(kind.__name__) if origin is None else get_args(kind)[0].__name__ + origin.__name__
