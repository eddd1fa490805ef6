"""What names protocols asks the registry: one that is made up here shows everywhere, and the pages name them all."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from protocols.registry import PROTOCOLS, protocol, served, terminals

ROOT = Path(__file__).resolve().parent.parent

# Teltonika's wire under another name, with a measure and a model of its own.
PACKAGE = {
    "__init__.py": """
import dataclasses
from protocols.teltonika import PROTOCOL as KIN
PROTOCOL = dataclasses.replace(KIN, name="acme", measures={"acme.flux": ("Wb", "what flows")}, shared_measures=("vin",))
""",
    "terminal.py": """
from protocols.teltonika.terminal import TeltonikaTerminal
class AcmeTerminal(TeltonikaTerminal):
    models = {"ACME-1": ("1.0", "1.1", "1.2", "1.3", "1.4")}
    weight = 2.0
TERMINALS = {"tcp": AcmeTerminal}
""",
}
SCRIPT = """
import contextlib, io, json, sys
from datetime import date
from pathlib import Path
sys.path[:0] = [sys.argv[1], sys.argv[2]]
from protocols import registry
registry.PROTOCOLS["acme"] = registry.Registered("acme", 5999, served=True)

from bench import decode, samples
from gateway import cli
from gateway.configuration.reading import ConfigError, load
from gateway.service.demo import demo_scenario, demo_settings
from gateway.simulator.faults import catalogue
from gateway.simulator.fleet import make_fleet
from gateway.simulator.scenario import Scenario
from protocols.measures import describe
from tools import configuration_doc, measures_doc

folder = Path(sys.argv[1])

def said(*words):
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out), contextlib.suppress(SystemExit):
        cli.main(list(words))
    return out.getvalue()

def refused(text):
    (folder / "wrong.toml").write_text(text)
    try:
        load(folder / "wrong.toml", {})
    except ConfigError as error:
        return str(error)

(folder / "dozor.toml").write_text('[[listen]]\\nprotocol = "acme"\\n')
login, frames = samples.wire_frames("acme", 3)
sys.stdin = io.TextIOWrapper(io.BytesIO((login + b"".join(frames)).hex().encode()))
print(json.dumps({
    "listened": [str(entry.address) for entry in load(None, {}, implicit=False).listen if entry.protocol == "acme"],
    "without_address": [str(entry.address) for entry in load(folder / "dozor.toml", {}).listen],
    "refusal": refused('[[listen]]\\nprotocol = "smtp"\\n'),
    "help": [said(*words, "--help") for words in (["decode"], ["simulate"], ["terminal", "add"])],
    "decoded": said("decode", "acme", "-", "--json").count('"event":"record"'),
    "measure": describe("acme.flux").protocols,
    "vin": "acme" in describe("vin").protocols,
    "measures_page": measures_doc.page(),
    "configuration_page": configuration_doc.page(),
    "mix": Scenario().mix["acme"],
    "fleet": sorted({spec.model for spec in make_fleet(Scenario(terminals=3, mix={"acme": 1.0}))}),
    "catalogue": catalogue(date(2026, 1, 1)).count("ACME-1"),
    "demo": demo_scenario(demo_settings(None, folder), 20, 60.0).mix["acme"],
    "bench": decode.names(),
}))
"""


def test_a_made_up_protocol_shows_everywhere(tmp_path: Path) -> None:
    (tmp_path / "acme").mkdir()
    for name, text in PACKAGE.items():
        (tmp_path / "acme" / name).write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path), str(ROOT)],
        capture_output=True, text=True, check=False, timeout=60, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["listened"] == seen["without_address"] == ["0.0.0.0:5999"]
    assert '"acme"' in seen["refusal"]
    assert all("acme" in text for text in seen["help"]), seen["help"]
    assert seen["decoded"] == 3 * 20
    assert seen["measure"] == ["acme"]
    assert seen["vin"]
    assert "## Told by acme" in seen["measures_page"]
    assert "`acme`" in seen["configuration_page"]
    assert 'protocol = "acme"' in seen["configuration_page"]
    assert seen["mix"] == seen["demo"] == 2.0
    assert seen["fleet"] == ["ACME-1"]
    assert seen["catalogue"] == 5
    assert "acme" in seen["bench"]


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_pages_name_every_protocol(name: str) -> None:
    spoken = ", ".join(transport.upper() for transport in protocol(name).transports)
    largest = f"{protocol(name).max_frame:,}".replace(",", " ")
    row = f"| `{name}` | {spoken} | {PROTOCOLS[name].port} | {largest} bytes |"
    assert row in (ROOT / "protocols" / "README.md").read_text(encoding="utf-8")
    page = (ROOT / "docs" / "simulator.md").read_text(encoding="utf-8")
    assert f"| `{name}` |" in page
    assert set(terminals(name)) <= set(protocol(name).transports)


def test_the_ports_are_told_to_who_opens_them() -> None:
    row = f"| {', '.join(map(str, served().values()))} | terminals"
    assert row in (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_terminal_has_a_firmware_of_each_kind(name: str) -> None:
    for kind in terminals(name).values():
        assert all(len(set(versions)) == 5 for versions in kind.models.values())
        assert len({kind.identity(serial) for serial in range(0, 1_000_000, 9973)}) == 101
