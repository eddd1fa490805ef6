"""`dozor backup` and `dozor restore`, from outside: nothing acknowledged is missing, and a bad file changes nothing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gateway.receive.segments import MAGIC, Entry, pack, segment_name
from protocols.teltonika.declaration import CODEC_8, avl_frame, avl_record
from tests.gateway.receive.outside import Terminal
from tests.harness import ROOT, ServiceProcess, data_directory, running_service

IMEI, SPOOLED = "356307042441013", "356307042441021"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, ServiceProcess]]:
    """A back-up taken while the service ran, and that service, which has ended."""
    file = tmp_path_factory.mktemp("backup") / "dozor.backup"
    with running_service() as service:
        assert service.command("user", "add", "anna", "--role", "admin", "--password-stdin", text="a long phrase\n")
        terminal = Terminal(IMEI, service.ports["teltonika"])
        with closing(terminal.socket):
            terminal.login()
            for _ in range(5):
                terminal.send()
                assert terminal.ack() == 1
        entry = Entry(
            "teltonika", SPOOLED, 1_700_000_000_000_000, avl_frame(CODEC_8, [avl_record(timestamp=1_700_000_000_000)])
        )
        # What a service with more workers has left, and nobody drains until the next start.
        folder = service.data_dir / "spool" / "worker-9"
        folder.mkdir(parents=True)
        (folder / segment_name(1)).write_bytes(MAGIC + pack([entry]))
        (service.data_dir / "key").write_text("secret")
        (service.data_dir / "postgres" / "dozor.local.conf").write_text("work_mem = '9MB'\n")
        done = service.command("backup", str(file))
        assert done.returncode == 0, done.stderr
        assert file.stat().st_mode & 0o077 == 0
        service.stop()
        yield file, service


def into(folder: Path, file: Path, *more: str) -> tuple[ServiceProcess, subprocess.CompletedProcess[str]]:
    service = ServiceProcess(folder)
    return service, service.command("restore", str(file), *more)


def test_everything_acknowledged_comes_back(kept: tuple[Path, ServiceProcess]) -> None:
    file, _ = kept
    with data_directory() as folder:
        service, done = into(folder, file)
        assert done.returncode == 0, done.stderr
        try:
            service.start()
            assert service.query("SELECT count(*) FROM telemetry WHERE terminal = %s", IMEI) == [(5,)]
            assert service.query("SELECT name, role FROM app_user") == [("anna", "admin")]
            assert service.query("SHOW work_mem") == [("9MB",)]
            assert (folder / "key").read_text() == "secret"
            deadline = time.monotonic() + 15
            while service.query("SELECT count(*) FROM telemetry WHERE terminal = %s", SPOOLED) != [(1,)]:
                assert time.monotonic() < deadline, service.tail()
                time.sleep(0.1)
            assert sorted(path.name for path in folder.glob("restore*")) == []
            terminal = Terminal(IMEI, service.ports["teltonika"])
            with closing(terminal.socket):
                terminal.login()
                terminal.send()
                assert terminal.ack() == 1
            assert service.query("SELECT count(*) FROM telemetry WHERE terminal = %s", IMEI) == [(6,)]
            refused = service.command("restore", str(file), "--replace")
            assert refused.returncode == 2
            assert "stop" in refused.stderr
        finally:
            service.end()


def damaged(file: Path, folder: Path, how: str) -> Path:
    other = folder / f"{how}.backup"
    shutil.copy(file, other)
    data = bytearray(file.read_bytes())
    if how == "cut":
        other.write_bytes(data[: len(data) // 2])
    elif how == "flipped":
        with zipfile.ZipFile(file) as archive:
            at = archive.getinfo("store.dump").header_offset + 5000
        data[at] ^= 0x10
        other.write_bytes(data)
    elif how == "no zip":
        other.write_bytes(b"-- a dump in SQL\n")
    elif how == "no back-up":
        with zipfile.ZipFile(other, "w") as archive:
            archive.writestr("letter.txt", "hello")
    else:
        with zipfile.ZipFile(file) as source, zipfile.ZipFile(other, "w") as archive:
            for info in source.infolist():
                content = source.read(info)
                if info.filename == "manifest.json" and how == "later schema":
                    content = content.replace(b'"schema":', b'"schema":9')
                archive.writestr(info, content)
            if how == "outside":
                archive.writestr("files/../../elsewhere", "boo")
    return other


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("cut", "damaged or not whole"),
        ("flipped", "damaged or not whole"),
        ("no zip", "damaged or not whole"),
        ("no back-up", "no back-up of dozor"),
        ("later schema", "or later"),
        ("outside", "not written by dozor"),
    ],
)
def test_what_is_no_whole_back_up_changes_nothing(
    kept: tuple[Path, ServiceProcess], tmp_path: Path, how: str, told: str
) -> None:
    with data_directory() as folder:
        folder.mkdir()
        (folder / "key").write_text("mine")
        _, done = into(folder, damaged(kept[0], tmp_path, how), "--replace")
        assert done.returncode == 2
        assert told in done.stderr
        assert "Traceback" not in done.stderr
        assert sorted(path.name for path in folder.iterdir()) == ["dozor.lock", "key"]
        assert (folder / "key").read_text() == "mine"
        assert not (folder.parent / "elsewhere").exists()


def test_a_file_that_is_not_there_makes_no_data_directory(tmp_path: Path) -> None:
    service, done = into(tmp_path / "data", tmp_path / "none.backup")
    assert done.returncode == 2
    assert f"{tmp_path / 'none.backup'}: No such file or directory: name a file" in done.stderr
    assert not service.data_dir.exists()


def test_nothing_is_no_back_up(tmp_path: Path) -> None:
    """Another user's data directory, say: a new, empty store is not made to be kept."""
    service = ServiceProcess(tmp_path / "data")
    done = service.command("backup", str(tmp_path / "dozor.backup"))
    assert done.returncode == 2
    assert f"{tmp_path / 'data'}: no store is there" in done.stderr
    assert "DOZOR_DATA_DIR" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_data_are_replaced_only_when_that_is_said(kept: tuple[Path, ServiceProcess]) -> None:
    with data_directory() as folder:
        (folder / "spool").mkdir(parents=True)
        (folder / "spool" / segment_name(3)).write_bytes(MAGIC)
        _, done = into(folder, kept[0])
        assert done.returncode == 2
        assert "--replace" in done.stderr
        service, done = into(folder, kept[0], "--replace")
        assert done.returncode == 0, done.stderr
        assert not (folder / "spool" / segment_name(3)).exists()
        # The service does not run: the store is started for it.
        again = service.command("backup", str(folder.parent / "again.backup"))
        assert again.returncode == 0, again.stderr


def test_a_store_of_somebody_elses_is_refused(tmp_path: Path) -> None:
    service = ServiceProcess(tmp_path, DOZOR_STORE__DSN="host=/nowhere password=hush")
    for command in (("backup", str(tmp_path / "x")), ("restore", str(tmp_path / "x"))):
        done = service.command(*command)
        assert done.returncode == 2
        assert "store.dsn is set" in done.stderr
        assert "hush" not in done.stderr


def test_a_file_that_cannot_be_written(kept: tuple[Path, ServiceProcess]) -> None:
    _, service = kept
    done = service.command("backup", "/nowhere/dozor.backup")
    assert done.returncode == 2
    assert "/nowhere/dozor.backup cannot be written: No such file" in done.stderr


def run_and_kill(service: ServiceProcess, after: float, *arguments: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway.cli", *arguments], cwd=ROOT, env=service.environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


AFTER = [0.5 + 0.1 * n for n in range(20)] if os.environ.get("DOZOR_SOAK") else [1.6]


@pytest.mark.parametrize("after", AFTER)
def test_a_restore_killed_in_the_middle_is_whole_or_nothing(kept: tuple[Path, ServiceProcess], after: float) -> None:
    with data_directory() as folder:
        service = ServiceProcess(folder)
        run_and_kill(service, after, "restore", str(kept[0]))
        done = service.command("restore", str(kept[0]), "--replace")
        assert done.returncode == 0, done.stderr
        try:
            service.start()
            assert service.query("SELECT count(*) FROM telemetry WHERE terminal = %s", IMEI) == [(5,)]
        finally:
            service.end()


def test_a_back_up_killed_in_the_middle_leaves_the_older_one(kept: tuple[Path, ServiceProcess], tmp_path: Path) -> None:
    _, service = kept
    file = tmp_path / "dozor.backup"
    file.write_bytes(b"the older one")
    try:
        run_and_kill(service, 1.0, "backup", str(file))
        if file.read_bytes() != b"the older one":  # it was quicker
            assert zipfile.ZipFile(file).testzip() is None
        done = service.command("backup", str(file))
        assert done.returncode == 0, done.stderr
        assert zipfile.ZipFile(file).testzip() is None
        assert sorted(path.name for path in tmp_path.iterdir()) == ["dozor.backup"]
    finally:
        service.end()
