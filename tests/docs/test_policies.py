"""docs/policies.md says what the format says, and what the format says is what is read."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from ticketing import policies
from tools import policies_doc


def test_the_page_is_current() -> None:
    assert policies_doc.PAGE.read_text(encoding="utf-8") == policies_doc.page(), "run python -m tools.policies_doc"


def test_no_meaning_is_of_a_key_that_there_is_not() -> None:
    keys = {
        f"{path or 'top'}.{field.name}"
        for path, table in policies_doc.tables()
        for field in msgspec.structs.fields(table)
    }
    assert {key for key in policies_doc.MEANINGS if not key.startswith("*.")} <= keys


def test_the_page_takes_what_its_examples_say(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    text = policies.source("dealer-desk").replace('hours = "09:00-18:00"', 'hours = "09:00-13:00,14:00-18:00"')
    assert "14:00" in text
    own.write_text(text)
    assert policies.problems(own) == []


@pytest.mark.parametrize("policy", policies.shipped(), ids=lambda policy: policy.name)
def test_every_key_of_the_shipped_policies_is_on_the_page(policy: policies.Policy) -> None:
    page = policies_doc.PAGE.read_text(encoding="utf-8")
    for name, value in policy.as_json().items():
        assert f"`{name}`" in page or f"`[{name}]`" in page or f"`[[{name}]]`" in page, value
