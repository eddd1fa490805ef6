"""docs/decode.md: each wrong input says what the page says, and each spelling of its table is taken."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.commands.decode_errors import HexError
from gateway.commands.decode_input import read_input

PAGE = (Path(__file__).parents[2] / "docs" / "decode.md").read_text(encoding="utf-8")
WRONG = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \| [^|]+ \|$", PAGE, re.MULTILINE)
(SPELLINGS,) = re.findall(r"^\| hex \| (.*) \|$", PAGE, re.MULTILINE)


@pytest.mark.parametrize(("given", "told"), WRONG)
def test_wrong_input_says_what_the_page_says(given: str, told: str) -> None:
    with pytest.raises(HexError) as caught:
        read_input(given)
    assert told in str(caught.value)


def test_the_tables_were_found() -> None:
    assert len(WRONG) == 7
    assert "`0x000f`" in SPELLINGS


@pytest.mark.parametrize("spelling", re.findall(r"`([^`]+)`", SPELLINGS))
def test_each_spelling_is_bytes(spelling: str) -> None:
    assert b"\x00\x0f35".startswith(read_input(spelling).pieces[0])
