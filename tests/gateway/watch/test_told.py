"""What was told lately is not told again, and what is new always is, wherever a look is broken off."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.watch import told as module
from gateway.watch.told import Told

looks = st.lists(
    st.tuples(st.dictionaries(st.integers(0, 5), st.sampled_from("ab"), max_size=5), st.integers(1, 3), st.booleans()),
    max_size=8,
)


def parts(found: dict[int, str], count: int) -> list[dict[int, str]]:
    """In pages, as the store gives it."""
    items = list(found.items())
    return [dict(items[at::count]) for at in range(count)]


@given(looks)
def test_a_look_tells_what_the_last_whole_one_did_not(history: list[tuple[dict[int, str], int, bool]]) -> None:
    told: Told[str] = Told()
    last: dict[int, str] = {}  # what the last whole look found; after one that was broken off nobody knows
    for found, count, whole in history:
        told.begin()
        pages = parts(found, count)
        news = [told.news(page) for page in (pages if whole else pages[:1])]
        assert news == [{row: value for row, value in page.items() if last.get(row) != value}
                        for page in (pages if whole else pages[:1])]  # fmt: skip
        if whole:
            told.end()
            last = dict(found)
        elif pages[0]:
            last = {}


def test_beyond_what_is_remembered_all_is_told_rather_than_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 3)
    told: Told[str] = Told()
    found = dict.fromkeys(range(8), "a")
    for _ in range(2):
        told.begin()
        news = [told.news(page) for page in parts(found, 4)]
        told.end()
    assert sum(map(len, news)) == 8 - 4, "two pages of two were remembered"
