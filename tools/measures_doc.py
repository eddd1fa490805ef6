"""Write docs/measures.md from the dictionary of measures: `python -m tools.measures_doc`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from protocols.measures import FUEL_LEVELS, FUEL_TEMPERATURES, MEASURES, SHARED, Measure

PAGE = Path(__file__).parent.parent / "docs" / "measures.md"

_HEAD = """\
# Measures

What a record carries besides its time, position and movement: in the `measures` object of the view `telemetry`, of
`dozor decode --json` and of the API. A name has one meaning and one unit, whichever protocol tells it; a value that
the terminal did not send is an absent key. Whole numbers beyond 2^53 and texts are exact.

`N` in a name is a number that counts from 1 (in `can.spn.SPN` the J1939 number), `<id>` the terminal's own number and
`<name>` its own name. *raw* values are as sent: their scale depends on the terminal's configuration or model.

This page is generated: `python -m tools.measures_doc`.

## Fuel-level sensors

Sensor N is the same one, and its level means the same, whatever it is called by those who tell it. Of several names in
one record the first counts:

| | names, in this order |
|---|---|
| level, raw code | LEVELS |
| temperature | TEMPERATURES |
| status, or an invalid level's code | `fuel.status.N` |
| litres | `fuel.volume.N`, from the level by its [calibration](operations.md#litres) |

The detector of sick sensors, refuellings and drains, calibrations and the view `fuel` all go by this.
"""


def page() -> str:
    """The whole page."""
    own = [measure for name, measure in MEASURES.items() if name not in SHARED]
    head = _HEAD.replace("LEVELS", _names(FUEL_LEVELS)).replace("TEMPERATURES", _names(FUEL_TEMPERATURES))
    parts = [head, "## Shared by several protocols\n", _table(MEASURES[name] for name in SHARED)]
    for protocol in dict.fromkeys(m.protocols[0] for m in own):
        parts += [f"## Told by {protocol}\n", _table(m for m in own if m.protocols[0] == protocol)]
    return "\n".join(parts)


def _table(measures: Iterable[Measure]) -> str:
    lines = ["| name | unit | meaning | protocols |", "|---|---|---|---|"]
    lines += [
        f"| `{m.name}` | {_cell(m.unit)} | {_cell(m.meaning)} | {', '.join(m.protocols)} |"
        for m in sorted(measures, key=lambda m: m.name)
    ]
    return "\n".join(lines) + "\n"


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
