"""`make bench`: the contract's JSON object from a really short run, and what is made of it."""

from __future__ import annotations

import copy
import json
import os
import socket
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import psutil
import pytest

from bench import decode, loops, profile, report, speakers
from bench.generator import make_frames
from bench.loops import teltonika
from bench.samples import RECORDS, wire_frames
from protocols.records import Frame
from protocols.registry import PROTOCOLS, protocol, served

ROOT = Path(__file__).resolve().parents[2]
SHORT = ("--quick", "--json", "--rounds", "1", "--seconds", "0.3", "--no-public", "--connections", "300")
NUMBER = (int, float)


def bench(*arguments: str) -> dict[str, Any]:
    """The object in the last line of stdout."""
    done = subprocess.run(
        [sys.executable, "-m", "bench", *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def result(mosquitto: Path) -> dict[str, Any]:
    return bench(*SHORT, "--reconnect", "0.5", "--fleet", "20000")


@pytest.mark.soak
@pytest.mark.slow
def test_the_object_is_the_contracts(result: dict[str, Any]) -> None:
    assert set(result["machine"]) == {"cpu", "cores", "memory", "kernel", "python", "postgres"}
    assert isinstance(result["commit"], str)
    assert set(result["decode"]) == set(served())
    for name, told in result["decode"].items():
        assert told["records_per_frame"] == 20
        assert told["records_per_s"] > told["construct_records_per_s"] > 0
        assert (told["struct_records_per_s"] is None) == (name != "teltonika")
        assert isinstance(told["public"], dict)
    rows = [(row["terminals"], row["window"], row["records_per_frame"]) for row in result["ingest"]]
    assert rows == [(1000, 1, 1), (200, 4, 1), (2000, 4, 1), (200, 4, 20)]
    for row in result["ingest"]:
        assert row["protocol"] == "teltonika"
        for name in (
            "frames_per_s", "records_per_s", "bare_frames_per_s", "ratio", "cpu_us_per_frame", "bare_cpu_us_per_frame",
            "copy_records_per_s", "copy2_records_per_s",
        ):  # fmt: skip
            assert isinstance(row[name], NUMBER), name
            assert row[name] > 0, name
        assert row["records_per_s"] == pytest.approx(row["frames_per_s"] * row["records_per_frame"], rel=1e-3)
        assert row["ratio"] == pytest.approx(row["frames_per_s"] / row["bare_frames_per_s"], rel=1e-2)
    assert 0 < result["latency"]["p50_ms"] <= result["latency"]["p99_ms"]
    assert result["latency"]["frames_per_s"] > 0
    assert 0 < result["latency"]["bare_p50_ms"] <= result["latency"]["bare_p99_ms"]
    assert 0 <= result["latency"]["stolen"] < 1
    told = result["mqtt"]
    assert told["ratio"] == pytest.approx(told["messages_per_s"] / told["bare_messages_per_s"], rel=1e-2)
    assert told["ratio"] >= 0.6
    assert result["memory"]["connections"] == 300
    assert result["memory"]["empty_bytes"] > result["memory"]["fresh_bytes"] > 0
    assert result["memory"]["bytes_per_connection"] > 0


@pytest.mark.soak
@pytest.mark.slow
def test_tables_plots_and_the_readme_show_it(result: dict[str, Any], tmp_path: Path) -> None:
    shown = report.text(result)
    for word in (
        "teltonika",
        "omnicomm",
        "wialon-ips",
        "1000 × 1 × 1",
        "200 × 4 × 20",
        "p99",
        "idle",
        "a tick",
        "MQTT",
    ):
        assert word in shown
    for name, svg in report.plots(result).items():
        bars = ET.fromstring(svg).findall("{http://www.w3.org/2000/svg}rect")
        assert len(bars) > 4, name
    page = tmp_path / "README.md"
    page.write_text("before\n<!-- bench:begin: why -->\nold\n<!-- bench:end -->\nafter\n", encoding="utf-8")
    for _ in range(2):  # again and again
        report.write_readme(result, page)
        text = page.read_text(encoding="utf-8")
        assert text.startswith("before\n<!-- bench:begin: why -->\n")
        assert text.endswith("<!-- bench:end -->\nafter\n")
        assert "old" not in text
        assert text.count("| 2 000 | 4 | 1 |") == 1
        assert result["commit"] in text


@pytest.mark.slow
def test_nothing_is_left_when_it_is_killed(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    tmp_path.chmod(0o711)
    run = subprocess.Popen(
        [sys.executable, "-m", "bench", "--only", "ingest", "--seconds", "20", "--rounds", "1"],
        cwd=ROOT, env=environment, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        children: list[psutil.Process] = []
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not any("bench.generator" in command_of(c) for c in children):
            time.sleep(0.2)
            children = psutil.Process(run.pid).children(recursive=True)
        assert any("gateway.cli" in command_of(c) for c in children)
    finally:
        run.kill()
        run.communicate()
    _, alive = psutil.wait_procs(children, timeout=30)
    assert [command for c in alive if (command := command_of(c))] == []


def command_of(process: psutil.Process) -> list[str]:
    """Its command line; nothing of one that has ended."""
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []


@pytest.mark.parametrize("name", PROTOCOLS)
def test_samples_are_read_whole(name: str) -> None:
    login, wires = wire_frames(name, 5)
    decoded = protocol(name).decode(decode._frames(name, login, wires))
    assert len(decoded.batch) == 5 * RECORDS
    assert decoded.quarantined == []


@pytest.mark.parametrize("name", [name for name in PROTOCOLS if loops.loop(name) is not None])
def test_each_struct_loop_yields_the_same_columns(name: str) -> None:
    login, wires = wire_frames(name, 20)
    plainly = loops.loop(name)
    assert plainly is not None
    assert loops.same(protocol(name).decode(decode._frames(name, login, wires)).batch, plainly(wires))


def test_a_struct_loop_sees_what_differs_and_what_is_damaged() -> None:
    login, wires = wire_frames("teltonika", 20)
    batch = protocol("teltonika").decode(decode._frames("teltonika", login, wires)).batch
    assert loops.same(batch, teltonika.decode(wires))
    other = copy.deepcopy(batch)
    other.groups[0].values[3, 2] += 1
    assert not loops.same(other, teltonika.decode(wires))
    damaged = bytearray(wires[0])
    damaged[40] ^= 1
    with pytest.raises(ValueError, match="checksum"):
        teltonika.decode([bytes(damaged)])


@pytest.mark.parametrize("records", [1, 20])
def test_the_load_is_frames_that_a_session_takes(records: int) -> None:
    data, size = make_frames(3, 4, records, start_ms=1_790_000_000_000)
    login, _ = wire_frames("teltonika", 0)
    session = protocol("teltonika").new_session()
    session.receive_data(login, 0.0)
    session.accept(0.0)
    frames = session.receive_data(data, 0.0)
    assert [type(frame) for frame in frames] == [Frame] * 4
    assert len(data) == 4 * size
    times = protocol("teltonika").decode([f for f in frames if isinstance(f, Frame)]).batch.time
    assert sorted(times.tolist()) == [(1_790_000_000_000 + n) * 1000 for n in range(4 * records)]


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_load_in_any_protocol_is_taken_and_answered_frame_by_frame(name: str) -> None:
    specs, scenario = speakers.fleet(name, 3)
    some = speakers.readings(specs, scenario, 3, 1_790_000_000_000)
    scripts = [speakers.script(spec, its, 1_790_000_000.0) for spec, its in zip(specs, some, strict=True)]
    assert all(len(each.frames) == 3 and all(each.answers) for each in scripts)
    assert len({frame for each in scripts for frame in each.frames}) == 9
    assert len({spec.identity for spec in specs}) == 3


def test_a_word_that_is_no_ack_ends_the_load() -> None:
    specs, scenario = speakers.fleet("gt06", 1)
    (some,) = speakers.readings(specs, scenario, 2, 1_790_000_000_000)
    script = speakers.script(specs[0], some, 1_790_000_000.0)
    here, there = socket.socketpair()
    with here, there:
        speaker = speakers.Speaker(here, script)
        there.send(script.answers[0][:4])
        assert not speaker.hear()
        there.send(script.answers[0][4:])
        assert speaker.hear()
        there.send(script.answers[0])  # once more, in place of the second's
        with pytest.raises(SystemExit, match="no ack"):
            speaker.hear()


@pytest.mark.soak
@pytest.mark.slow
def test_each_protocol_has_its_row() -> None:
    told = bench(
        "--only", "ingest", "--protocols", "gt06,osmand", "--terminals", "20", "--seconds", "0.3", "--rounds", "1",
        "--json",
    )  # fmt: skip
    _, *rows = told["ingest"]
    assert [row["protocol"] for row in rows] == ["gt06", "osmand"]
    for row in rows:
        assert (row["terminals"], row["window"], row["records_per_frame"]) == (20, 1, 1)
        assert row["frames_per_s"] == row["records_per_s"] > 0
        assert row["teltonika_ratio"] > 0
    assert "osmand" in report.text(told)
    assert "osmand" not in report.markdown(told)


@pytest.mark.parametrize("place", sorted({place for _, place in profile.STEPS}))
def test_the_profile_names_steps_that_there_are(place: str) -> None:
    owner, name = profile.find(place)
    assert callable(getattr(owner, name))
    with pytest.raises((AttributeError, ModuleNotFoundError)):
        profile.find(place + "_no_more")
