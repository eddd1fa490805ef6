"""The part of the description that derives from rows (`kit.routes`): paths, and the schemas of bodies and answers."""

from __future__ import annotations

import re
from inspect import cleandoc
from typing import Any, get_args, get_origin

import msgspec

from ticketing.desk.openapi_parts import KEY, PAGED, content, filtered, in_path, refusals
from ticketing.kit.routes import Row

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


def body_schemas(rows: Rows) -> dict[str, Any]:
    """The schemas of what rows take; those of objects within end in `Input`, for what is sent has the other names."""
    bodies = [row.body for row in rows if row.body is not None]
    _, found = msgspec.json.schema_components(bodies, ref_template="#/components/schemas/{name}")
    names = {name: name if name in {_name(body) for body in bodies} else f"{name}Input" for name in found}
    return {names[name]: _renamed(schema, names) for name, schema in found.items()}


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
    statuses = [400, 401, 403, *([404] if named else []), *([409, 422] if row.method != "GET" else []), 503]
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
    return operation | {"responses": {str(row.status): success, **refusals(statuses)}}


def _name(kind: Any) -> str:
    """`Page[Organisation]` is called OrganisationPage."""
    origin = get_origin(kind)
    return str(kind.__name__) if origin is None else get_args(kind)[0].__name__ + origin.__name__
