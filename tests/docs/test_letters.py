"""docs/letters.md says of each kind and placeholder what the code does."""

import re
from pathlib import Path

from ticketing.letters.kinds import KINDS
from ticketing.letters.texts import LISTS, PLACEHOLDERS, Texts

PAGE = (Path(__file__).parents[2] / "docs" / "letters.md").read_text(encoding="utf-8")


def test_kinds() -> None:
    rows = dict(re.findall(r"^\| `([a-z_]+)` \| [^|]+ \| ([^|]+ \| [^|]+) \|$", PAGE, re.MULTILINE))
    assert rows.keys() == KINDS.keys()
    for kind, traits in KINDS.items():
        to, _, limits = rows[kind].partition(" | ")
        assert limits.split(", ") == [
            name for name, holds in (("quiet hours", traits.calm), ("budget", traits.budgeted)) if holds
        ] or (limits == "none" and not traits.calm and not traits.budgeted)
        if traits.to:
            assert tuple(to.split(", ")) == traits.to


def test_placeholders() -> None:
    told = dict(re.findall(r"^\| `([a-z_]+)` \| ([^|]+) \|$", PAGE, re.MULTILINE))
    assert told == {name: meaning + (" (list)" if name in LISTS else "") for name, meaning in PLACEHOLDERS.items()}


def test_the_example_is_a_text() -> None:
    (example,) = re.findall(r"^```\n(Subject: .*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    written = Texts({"en/ack.txt": example}).render("ack", "en", {"subject": "x", "number": "1", "missing": ["a"]}, {})
    assert "Please send us:\n\n- a\n" in written.text
