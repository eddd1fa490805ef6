"""Message-IDs that nobody else can make."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticketing.core.message_ids import LONGEST, bounced_letter, make, verify

SECRET = b"s" * 32


def test_our_own_is_recognised_and_is_short() -> None:
    made = make(SECRET, "DZ-10017", 3, "desk.example")
    assert made.startswith("<t.DZ-10017.3.")
    assert made.endswith("@desk.example>")
    assert len(made) <= LONGEST
    assert verify(SECRET, made) == ("DZ-10017", 3)
    assert verify(SECRET, f" {made.strip('<>')} ") == ("DZ-10017", 3)


def test_the_domain_may_change() -> None:
    made = make(SECRET, "DZ-10017", 3, "old.example")
    assert verify(SECRET, made.replace("old.example", "new.example")) == ("DZ-10017", 3)


@pytest.mark.parametrize(
    "forged",
    [
        "<t.DZ-10017.3.00000000@desk.example>",
        make(b"another", "DZ-10017", 3, "desk.example"),
        make(SECRET, "DZ-10017", 3, "desk.example").replace(".3.", ".4."),
        make(SECRET, "DZ-10017", 3, "desk.example").replace(".3.", ".03."),
        make(SECRET, "DZ-10017", 3, "desk.example").replace("10017", "10029"),
        "<CAF=abc@mail.example>",
        "",
    ],
)
def test_another_is_not(forged: str) -> None:
    assert verify(SECRET, forged) is None


def test_a_bounce_address_names_its_letter() -> None:
    digest = hmac.new(SECRET, b"b42", hashlib.sha256).hexdigest()[:8]
    assert bounced_letter(SECRET, f"support+b42.{digest}@desk.example") == 42
    assert bounced_letter(SECRET, f"<Support+B42.{digest.upper()}@Desk.example>") == 42
    assert bounced_letter(SECRET, f"support+b43.{digest}@desk.example") is None
    assert bounced_letter(SECRET, "support@desk.example") is None


@given(st.text())
def test_any_text_is_answered(text: str) -> None:
    assert verify(SECRET, text) is None
