"""`dozor sensor` in a terminal: who is there, what they say, a tank calibrated step by step, broken off and resumed."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

import psycopg
import pytest

from gateway.cli import main
from gateway.commands.sensor_calibrate import read_points, write_points
from gateway.errors import CalibrationError
from gateway.simulator.lines import Line, Sensors
from gateway.store.calibrations import Point
from protocols.modbus_fuel import shipped
from tests.gateway.receive.outside import wait_for

ROOT = Path(__file__).parents[3]


def environment(folder: Path, **more: str) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("DOZOR_")}
    return {**plain, "HOME": str(folder), "PYTHONPATH": str(ROOT), **more}


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


class Command(Protocol):
    def __call__(self, *arguments: str) -> Done: ...


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`dozor sensor …` in an empty folder."""
    for name in [name for name in os.environ if name.startswith("DOZOR_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Done:
        try:
            code = main(["sensor", *arguments])
        except SystemExit as error:
            code = int(error.code or 0)
        out, err = capsys.readouterr()
        return Done(code, out, err)

    return run


@contextmanager
def line(sensors: Sensors) -> Iterator[str]:
    found = Line(sensors)
    try:
        yield found.port
    finally:
        found.close()


def test_scan_read_and_watch(command: Command) -> None:
    with line(Sensors("lls", [2, 5], level=lambda address, now, count: 100 * address)) as port:
        found = command("scan", port, "--addresses", "1-3,5", "--json")
        assert found.returncode == 0, found.stderr
        told = json.loads(found.stdout)
        assert (told["port"], told["protocol"]) == (port, "lls")
        assert [(one["address"], one["status"], one["level"], one["name"]) for one in told["sensors"]] == [
            (2, 0, 200, "LLS 30160"), (5, 0, 500, "LLS 30160"),
        ]  # fmt: skip
        read = command("read", port, "5", "--json")
        one = json.loads(read.stdout)
        assert read.returncode == 0
        assert (one["address"], one["status"], one["level"], one["highest"]) == (5, 0, 500, 4095)
        people = command("read", port, "5")
        assert "good, level 500, temperature" in people.stdout
        watched = command("watch", port, "2", "5", "7", "--count", "2", "--interval", "0.1", "--json")
        lines = [json.loads(text) for text in watched.stdout.splitlines()]
        assert [(one["address"], one["status"]) for one in lines] == [(2, 0), (5, 0), (7, 1)] * 2
        assert command("read", port, "9").returncode == 1


def test_registers_are_read_by_a_profile(command: Command) -> None:
    sensors = Sensors("modbus-fuel", [30], profile=shipped("daviteq-cap10"), level=lambda *_: 613)
    with line(sensors) as port:
        options = ("--protocol", "modbus-fuel", "--profile", "daviteq-cap10", "--baudrate", "9600", "--json")
        told = json.loads(command("read", port, "30", *options).stdout)
        assert (told["status"], told["level"]) == (0, 613)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("read", "/dev/nothing", "1"), "cannot be opened"),
        (("read", "/dev/null", "255"), "there is no address 255 in lls: take 1 to 254"),
        (("read", "/dev/null", "1", "--profile", "nothing"), 'there is no register profile "nothing"'),
        (("read", "/dev/null", "1", "--profile", "daviteq-cap10"), "lls has none"),
        (("read", "/dev/null", "1", "--protocol", "modbus-fuel"), "modbus-fuel needs one"),
        (("scan", "/dev/null", "--addresses", "a-b"), "names no addresses"),
        (("calibrate", "/dev/null", "1", "--terminal", "T", "--sensor", "0", "--step", "1"), "'0' is no sensor"),
        (("calibrate", "/dev/null", "1", "--terminal", "T", "--sensor", "1", "--step", "-1"), "no number above 0"),
    ],
)
def test_wrong_use_is_one_line_and_exit_2(command: Command, arguments: tuple[str, ...], why: str) -> None:
    done = command(*arguments)
    assert (done.returncode, why in done.stderr) == (2, True), done.stderr
    assert "Traceback" not in done.stderr


class Conversation:
    """A command in a terminal of its own, as somebody at a keyboard has it."""

    def __init__(self, folder: Path, dsn: str, *arguments: str) -> None:
        self.text = ""
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gateway.cli", "sensor", "calibrate", *arguments],
            cwd=folder, env=environment(folder, DOZOR_STORE__DSN=dsn), stdin=slave, stdout=slave, stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a run in the background ignores it
        )  # fmt: skip
        os.close(slave)

    def expect(self, pattern: str, within: float = 40.0) -> re.Match[str]:
        """Read on until this has been said."""
        deadline = time.monotonic() + within
        while True:
            found = re.search(pattern, self.text)
            if found is not None:
                self.text = self.text[found.end() :]
                return found
            assert time.monotonic() < deadline, f"{pattern!r} did not come: {self.text!r}"
            ready, _, _ = select.select([self._master], [], [], 0.1)
            if ready:
                try:
                    self.text += os.read(self._master, 4096).decode()
                except OSError:
                    raise AssertionError(f"{pattern!r} did not come before the end: {self.text!r}") from None

    def type(self, text: str = "") -> None:
        """A line at the keyboard."""
        os.write(self._master, f"{text}\n".encode())

    def end(self) -> int:
        """Its exit code."""
        code = self.process.wait(20)
        os.close(self._master)
        return code

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()
        os.close(self._master)


def tables(dsn: str) -> list[tuple[int, list[float], list[float]]]:
    with psycopg.connect(dsn) as link:
        return link.execute("SELECT version, codes, litres FROM calibration ORDER BY version").fetchall()  # type: ignore[return-value]


def test_a_tank_is_calibrated_broken_off_and_resumed_and_a_falling_point_is_refused(
    tmp_path: Path, postgres_dsn: str
) -> None:
    with psycopg.connect(postgres_dsn, autocommit=True) as link:
        link.execute("INSERT INTO terminal (identity) VALUES ('TANK-7')")
    level = [12]
    file = tmp_path / "tank.csv"
    with line(Sensors("lls", [5], level=lambda *_: level[0])) as port:
        arguments = (
            port, "5", "--terminal", "TANK-7", "--sensor", "1", "--step", "40", "--file", str(file), "--settle", "0.5"
        )  # fmt: skip
        talk = Conversation(tmp_path, postgres_dsn, *arguments)
        talk.expect(r"cannot be drained")
        talk.type("3,5")
        talk.expect(r"point 1: 3.5 l at code 12\r")
        for place, code in ((2, 263), (3, 548)):
            talk.expect(r"fill in 40 l")
            level[0] = code
            talk.type()
            talk.expect(rf"point {place}: {3.5 + 40 * (place - 1)} l at code {code}\r")
        assert read_points(file) == [Point(12, 3.5), Point(263, 43.5), Point(548, 83.5)]
        assert [(codes, litres) for _, codes, litres in tables(postgres_dsn)][-1] == (
            [12.0, 263.0, 548.0], [3.5, 43.5, 83.5],
        )  # fmt: skip
        talk.expect(r"fill in 40 l \(123.5 l in all\)")
        talk.kill()

        talk = Conversation(tmp_path, postgres_dsn, *arguments)
        talk.expect(r"resumes behind point 3: 83.5 l at code 548")
        talk.expect(r"fill in 40 l \(123.5 l in all\)")
        level[0] = 500
        talk.type()
        talk.expect(r"point 4 refused: at 123.5 l code 500: code 500 does not rise above 548 \(point 3\)")
        assert len(read_points(file)) == 3
        talk.expect(r"fill in 40 l \(163.5 l in all\)")
        level[0] = 836
        talk.type("nonsense")
        talk.expect(r"'nonsense' is no number of litres")
        talk.type()
        talk.expect(r"point 4: 163.5 l at code 836")
        talk.expect(r"fill in 40 l \(203.5 l in all\)")
        talk.type("100")
        talk.expect(r"point 5 refused: at 100 l code 836: code 836 does not rise above 836; litres 100 does not rise")
        talk.expect(r"fill in 40 l")
        talk.type("q")
        talk.expect(r"4 points, 2 refused: .*tank.csv, version 3 in the store")
        assert talk.end() == 0
    with psycopg.connect(postgres_dsn) as link:
        since = link.execute("SELECT DISTINCT since FROM calibration").fetchall()
        told = link.execute("SELECT codes FROM calibration ORDER BY version DESC LIMIT 1").fetchone()
    assert len(since) == 1  # each point superseded the version before, also over the break
    assert told == ([12.0, 263.0, 548.0, 836.0],)


def test_it_waits_until_the_level_is_settled(tmp_path: Path, postgres_dsn: str) -> None:
    with psycopg.connect(postgres_dsn, autocommit=True) as link:
        link.execute("INSERT INTO terminal (identity) VALUES ('TANK-7')")
    begun = time.monotonic()

    def rising(address: int, now: float, count: int) -> int:
        return min(1000, 100 + 30 * count)  # five a second or so: settled after some six seconds

    with line(Sensors("lls", [5], level=rising)) as port:
        arguments = (port, "5", "--terminal", "TANK-7", "--sensor", "1", "--step", "40", "--settle", "0.5", "--json")
        talk = Conversation(tmp_path, postgres_dsn, *arguments)
        talk.expect(r"cannot be drained")
        talk.type()
        talk.expect(r"point 1: 0 l at code 1000")
        assert time.monotonic() - begun > 2
        talk.process.send_signal(signal.SIGINT)
        found = talk.expect(r"\{.*\}")
        told = json.loads(found[0])
        assert told["points"] == [[1000.0, 0.0]]
        assert (told["version"], told["refused"]) == (None, 0)  # one point is no table
        assert told["file"] == "calibration-TANK-7-1.csv"
        assert talk.end() == 0


def test_without_a_store_the_file_has_all_and_it_is_said_how_to_import_it(tmp_path: Path) -> None:
    level = [100]
    with line(Sensors("lls", [5], level=lambda *_: level[0])) as port:
        talk = Conversation(
            tmp_path, "host=/nonexistent connect_timeout=2", port, "5", "--terminal", "TANK-7", "--sensor", "2",
            "--step", "10", "--settle", "0.3",
        )  # fmt: skip
        talk.expect(r"the store does not take it, the file has it")
        talk.expect(r"cannot be drained")
        talk.type()
        talk.expect(r"point 1: 0 l at code 100")
        talk.expect(r"fill in 10 l")
        level[0] = 200
        talk.type()
        talk.expect(r"point 2: 10 l at code 200")
        talk.expect(r"fill in 10 l")
        talk.type("q")
        talk.expect(r"2 points, 0 refused: calibration-TANK-7-2.csv, not in the store")
        talk.expect(r"dozor calibration import TANK-7 2 calibration-TANK-7-2.csv")
        assert talk.end() == 0
    assert read_points(tmp_path / "calibration-TANK-7-2.csv") == [Point(100, 0), Point(200, 10)]


def test_a_terminal_that_nobody_knows_is_told_at_once(tmp_path: Path, postgres_dsn: str) -> None:
    with line(Sensors("lls", [5])) as port:
        talk = Conversation(tmp_path, postgres_dsn, port, "5", "--terminal", "T", "--sensor", "1", "--step", "1")
        talk.expect(r"terminal 'T' is not registered: dozor terminal add")
        assert talk.end() == 2


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("code,litres\n1,2\n1,x\n", ":3: '1,x' is not code,litres"),
        ("1,2,3\n", ":1: '1,2,3' is not code,litres"),
        ("code,litres\n5,1\n4,2\n", "point 2: code 4 does not rise above 5"),
        ("code,litres\n5,1\n6,nan\n", "point 2: litres nan is no number"),
        ("x" * 70_000, "larger than 64 KiB"),
    ],
)
def test_a_file_that_is_none_is_not_gone_on_with(tmp_path: Path, text: str, what: str) -> None:
    file = tmp_path / "tank.csv"
    file.write_text(text)
    with pytest.raises(CalibrationError, match=re.escape(what)):
        read_points(file)
    with pytest.raises(CalibrationError, match="No such file"):
        read_points(tmp_path / "none.csv")


def test_a_file_is_written_whole(tmp_path: Path) -> None:
    points = [Point(12, 0), Point(263.5, 40.25), Point(100_000_001, 1234.5)]
    write_points(tmp_path / "a.csv", points)
    assert (tmp_path / "a.csv").read_text() == "code,litres\n12,0\n263.5,40.25\n100000001,1234.5\n"
    assert read_points(tmp_path / "a.csv") == points
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_a_simulated_line_and_its_truth(tmp_path: Path, command: Command) -> None:
    port, truth = tmp_path / "bus", tmp_path / "truth.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway.cli", "simulate", "--serial", str(port), "--protocol", "lls", "--sensors", "3",
         "--seed", "4", "--truth", str(truth), "--json"],
        cwd=tmp_path, env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        wait_for(port.exists)
        found = json.loads(command("scan", str(port), "--addresses", "1-4", "--json").stdout)
        assert [one["address"] for one in found["sensors"]] == [1, 2, 3]
    finally:
        process.terminate()
        out, _ = process.communicate(timeout=20)
    summary = json.loads(out.splitlines()[-1])
    assert (summary["answers"], summary["faults"], process.returncode) == (6, {}, 0)
    sent = [json.loads(text) for text in truth.read_text().splitlines()]
    assert next(one["level"] for one in sent if one["address"] == 1) == found["sensors"][0]["level"]
    assert not port.exists()
    for wrong in (["--protocol", "teltonika"], ["--sensors", "0"], ["--protocol", "modbus-fuel"], ["--errors", "2"]):
        done = subprocess.run(
            [sys.executable, "-m", "gateway.cli", "simulate", "--serial", str(port), *wrong],
            cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, check=False, timeout=20,
        )  # fmt: skip
        assert (done.returncode, "Traceback" in done.stderr) == (2, False)


def simulated(port: Path, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway.cli", "simulate", "--serial", str(port), "--duration", "0.2", *more],
        cwd=folder, env=environment(folder), capture_output=True, text=True, check=False, timeout=40,
    )  # fmt: skip


def test_a_way_to_a_device_is_nobodys_simulated_port(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Links such as udev makes in /dev/serial/by-id: one that was taken over would be gone at the end."""
    device, link, port = tmp_path / "ttyUSB0", tmp_path / "by-id", tmp_path / "port"
    device.touch()
    for target in (device, tmp_path / "unplugged", Path("/dev/null")):
        link.symlink_to(target)
        assert main(["simulate", "--serial", str(link)]) == 2
        assert capsys.readouterr().err == f"dozor simulate: {link} is there, and no simulated port\n"
        assert link.readlink() == target
        link.unlink()
    assert (main(["simulate", "--serial", str(device)]), device.is_file()) == (2, True)
    port.symlink_to("/dev/pts/9999")  # an earlier run was killed
    assert simulated(port, tmp_path).returncode == 0
    assert not port.is_symlink()


def test_what_a_simulated_line_could_not_write_at_its_end_is_refused_at_its_beginning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port = tmp_path / "port"
    for truth in (tmp_path / "none" / "truth.jsonl", tmp_path):
        assert main(["simulate", "--serial", str(port), "--truth", str(truth)]) == 2
        out, err = capsys.readouterr()
        assert (out, len(err.splitlines()), str(truth) in err) == ("", 1, True)
    done = simulated(tmp_path / "none" / "port", tmp_path)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        2, f"dozor simulate: {tmp_path / 'none' / 'port'} cannot be made: No such file or directory",
    )  # fmt: skip
    assert list(tmp_path.iterdir()) == []
    earlier = tmp_path / "truth.jsonl"
    earlier.write_text("an earlier run's\n")
    assert main(["simulate", "--serial", str(port), "--truth", str(earlier), "--sensors", "0"]) == 2
    assert earlier.read_text() == "an earlier run's\n", "who is refused spoils nothing"


def test_a_full_disk_costs_no_point_of_a_tank_that_is_filled_already(tmp_path: Path, postgres_dsn: str) -> None:
    with psycopg.connect(postgres_dsn, autocommit=True) as link:
        link.execute("INSERT INTO terminal (identity) VALUES ('TANK-7')")
    level = [10]
    kept, away = tmp_path / "kept", tmp_path / "away"
    kept.mkdir()
    with line(Sensors("lls", [5], level=lambda *_: level[0])) as port:
        talk = Conversation(
            tmp_path, postgres_dsn, port, "5", "--terminal", "TANK-7", "--sensor", "1", "--step", "40",
            "--file", str(kept / "tank.csv"), "--settle", "0.3",
        )  # fmt: skip
        talk.expect(r"cannot be drained")
        talk.type()
        talk.expect(r"point 1: 0 l at code 10")
        talk.expect(r"fill in 40 l")
        kept.rename(away)  # as a disk that takes nothing for a while
        level[0] = 200
        talk.type()
        talk.expect(r"tank.csv cannot be written: No such file or directory: make room; point 2 is not in it yet")
        talk.expect(r"point 2: 40 l at code 200")
        talk.expect(r"fill in 40 l")
        away.rename(kept)
        assert read_points(kept / "tank.csv") == [Point(10, 0)]
        assert tables(postgres_dsn) == [(1, [10.0, 200.0], [0.0, 40.0])]
        level[0] = 400
        talk.type()
        talk.expect(r"point 3: 80 l at code 400")
        talk.expect(r"fill in 40 l")
        talk.type("q")
        talk.expect(r"3 points, 0 refused")
        assert talk.end() == 0
    assert read_points(kept / "tank.csv") == [Point(10, 0), Point(200, 40), Point(400, 80)]
    assert [path.name for path in kept.iterdir()] == ["tank.csv"]


def test_a_resumed_table_of_fractions_supersedes_its_own_version(tmp_path: Path, postgres_dsn: str) -> None:
    """Codes of a register have digits behind the point; rounded ones would be no beginning of what the store has."""
    with psycopg.connect(postgres_dsn, autocommit=True) as link:
        row = link.execute("INSERT INTO terminal (identity) VALUES ('TANK-7') RETURNING id").fetchone()
        assert row is not None
        codes = [0.5, 1234.56789, 1234.567891]
        link.execute(
            "INSERT INTO calibration (terminal, sensor, version, since, codes, litres)"
            " VALUES (%s, 1, 4, '2026-11-01Z', %s, '{0,40,80}')",
            (row[0], codes),
        )
    write_points(tmp_path / "tank.csv", [Point(code, litres) for code, litres in zip(codes, (0, 40, 80), strict=True)])
    with line(Sensors("lls", [5], level=lambda *_: 2000)) as port:
        talk = Conversation(
            tmp_path, postgres_dsn, port, "5", "--terminal", "TANK-7", "--sensor", "1", "--step", "40",
            "--file", "tank.csv", "--settle", "0.3",
        )  # fmt: skip
        talk.expect(r"resumes behind point 3: 80 l at code 1234.57")
        talk.expect(r"fill in 40 l")
        talk.type()
        talk.expect(r"point 4: 120 l at code 2000")
        talk.expect(r"fill in 40 l")
        talk.type("q")
        talk.expect(r"4 points, 0 refused: tank.csv, version 5 in the store")
        assert talk.end() == 0
    with psycopg.connect(postgres_dsn) as link:
        assert link.execute("SELECT count(DISTINCT since), count(*) FROM calibration").fetchone() == (1, 2)
