"""The dictionary of measures knows every name a decoder can make, and its page is current."""

from __future__ import annotations

import pytest

from protocols.measures import MEASURES, SHARED, describe
from protocols.registry import every, protocol
from protocols.teltonika.measures import MEANINGS
from tools.measures_doc import PAGE, page


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m tools.measures_doc"


def test_every_name_has_one_entry_with_a_meaning() -> None:
    assert set(SHARED).union(*(protocol(name).measures for name in every())) == set(MEASURES)
    for name, measure in MEASURES.items():
        assert measure.name == name
        assert measure.meaning
        assert set(measure.protocols) <= set(every())


def test_a_name_has_one_unit_whichever_protocol_tells_it() -> None:
    units: dict[str, set[str]] = {}
    for own in (SHARED, *(protocol(name).measures for name in every())):
        for name, (unit, _) in own.items():
            units.setdefault(name, set()).add(_SAME.get(unit, unit))
    assert {name: found for name, found in units.items() if len(found) > 1} == {}


# words for "no unit" and for sets of bits, as the protocols' own lists have them
_SAME = {"text": "", "bit set": "bits", "code": "", "number": ""}


@pytest.mark.parametrize("meaning", MEANINGS.values(), ids=lambda m: m.name)
def test_every_avl_id_s_name_is_known(meaning) -> None:
    found = describe(meaning.name)
    assert found is not None
    assert "teltonika" in found.protocols
    if meaning.status:
        assert describe(meaning.status) is not None


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("fuel.level.1", "fuel.level.N"),
        ("fuel.level.12", "fuel.level.N"),
        ("input.3", "input.N"),
        ("io.69", "io.<id>"),
        ("io.385.2", "io.<id>.N"),
        ("param.lls1t", "param.<name>"),
        ("param.a.b c\n", "param.<name>"),
        ("can.spn.4096", "can.spn.SPN"),
        ("can.terex.3", "can.terex.N"),
        ("can.terex.11.3", "can.terex.11.N"),
        ("ignition", "ignition"),
        ("event.generation", "event.generation"),
    ],
)
def test_patterns_find_their_entry(name: str, entry: str) -> None:
    found = describe(name)
    assert found is not None
    assert found.name == entry


@pytest.mark.parametrize(
    "name", ["", "fuel.level", "fuel.level.", "fuel.level.x", "fuel.level.N", "io.", "io.x", "param.", "nothing"]
)
def test_what_no_decoder_makes_is_unknown(name: str) -> None:
    assert describe(name) is None


def test_units_of_the_contract() -> None:
    units = {
        "power.external": "V",
        "power.battery": "V",
        "gsm.signal": "%",
        "odometer": "m",
        "adc.1": "V",
        "gnss.time": "unix s",
        "fuel.temperature.1": "°C",
        "temperature.2": "°C",
    }
    assert {name: measure.unit for name in units if (measure := describe(name))} == units
