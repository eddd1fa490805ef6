"""Cursors: what one list gave out it reads again, and nothing else is taken for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticketing.core.paging import BadCursorError, RowId, cursor_of, read_cursor
from ticketing.kit.asked import MAX_CURSOR


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=64))
def test_every_identity_comes_back_and_fits_a_request(identity: str) -> None:
    cursor = cursor_of(identity)
    assert read_cursor(cursor, str) == identity
    assert cursor.isascii()
    if identity.isprintable():
        assert len(cursor) <= MAX_CURSOR


@given(st.integers(0, 2**63 - 1))
def test_so_does_every_row(place: int) -> None:
    assert read_cursor(cursor_of(place), RowId) == place


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "x",
        "-",
        "никак",
        "\ud800",
        "=",
        "NQ\n",
        "N Q",
        "!!!!NQ==",
        cursor_of("5"),
        cursor_of(-1),
        cursor_of(2**63),
        cursor_of([5]),
    ],
)
def test_whatever_else_comes_is_refused(wrong: str) -> None:
    with pytest.raises(BadCursorError):
        read_cursor(wrong, RowId)
