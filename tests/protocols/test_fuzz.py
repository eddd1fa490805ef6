"""A short run of `make fuzz`, and that it finds what there is to find."""

from __future__ import annotations

import dataclasses
import os

import pytest

from protocols import registry
from protocols.registry import PROTOCOLS, Registered, protocol
from protocols.template import session
from tests.protocols import fuzzing
from tests.protocols.fuzzing import fuzz

AMOUNT = 10_000_000 if os.environ.get("DOZOR_SOAK") else 300_000  # bytes; `make fuzz` takes more


@pytest.fixture(autouse=True)
def the_template_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROTOCOLS, "template", Registered("protocols.template", 0))


@pytest.mark.parametrize("name", [*PROTOCOLS, "template"])
def test_nothing_escapes_and_nothing_is_invented(name: str) -> None:
    found = fuzz(name, AMOUNT, seed=3)
    assert found.wrong == []
    assert found.data >= AMOUNT
    assert found.frames > 50
    assert found.malformed > found.connections // 4  # seven of eight are damaged, and some damage is none


def test_a_session_that_does_not_look_at_checksums_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    class Anything(bytes):
        def __ne__(self, other: object) -> bool:
            return False

        __hash__ = bytes.__hash__

    real = session.crc
    monkeypatch.setattr(session, "crc", lambda data: Anything(real(data)))
    found = fuzz("template", 50_000, seed=1)
    assert any("phantom" in line for line in found.wrong)


def test_what_raises_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(frames: object) -> None:
        raise ZeroDivisionError

    wrong = dataclasses.replace(protocol("template"), decode=decode)  # type: ignore[arg-type]
    monkeypatch.setattr(fuzzing, "protocol", lambda name: wrong if name == "template" else registry.protocol(name))
    assert any("ZeroDivisionError" in line for line in fuzz("template", 20_000, seed=1).wrong)
