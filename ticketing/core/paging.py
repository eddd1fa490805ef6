"""Lists in pages: one form of page, and of the cursor that asks for the next."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Generic, TypeVar

import msgspec

from ticketing.core.errors import InvalidTextError

Item = TypeVar("Item")

PAGE_LIMIT = 500  # rows one request may ask for
RowId = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]  # in a cursor: anybody may have made it up


class BadCursorError(InvalidTextError):
    """A cursor that this list never gave out."""


class Page(msgspec.Struct, Generic[Item], frozen=True):
    """One page of a list: `total` over all pages, `next` the cursor of the page after, None on the last."""

    items: list[Item]
    total: int
    next: str | None = None


def cursor_of(value: object) -> str:
    """The cursor behind whose `value` the next page begins."""
    return base64.urlsafe_b64encode(msgspec.json.encode(value)).decode().rstrip("=")


def read_cursor(cursor: str, kind: Any) -> Any:
    """The value in a cursor of `cursor_of`, of the type `kind`.

    Raises
    ------
    BadCursorError
        If it is none of this list's.
    """
    try:
        packed = base64.b64decode((cursor + "=" * (-len(cursor) % 4)).encode(), altchars=b"-_", validate=True)
        return msgspec.json.decode(packed, type=kind)
    except (msgspec.MsgspecError, binascii.Error, UnicodeError) as error:
        raise BadCursorError("the cursor is not one of this list's") from error
