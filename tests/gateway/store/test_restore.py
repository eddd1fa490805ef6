"""Back-ups that somebody made by hand, or spoilt: refused before anything of the data directory is touched."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.errors import BackupError
from gateway.store.backup import DUMP, FORMAT, MANIFEST, NOT_KEPT
from gateway.store.migrate import known
from gateway.store.restore import finish, restore

GOOD = {"format": FORMAT, "version": "0.1.0", "schema": known(), "created_at": "2026-11-01T00:00:00Z"}


def made(file: Path, members: Mapping[str, bytes], manifest: object = GOOD) -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(MANIFEST, manifest if isinstance(manifest, bytes) else msgspec.json.encode(manifest))
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
        archive.writestr(DUMP, b"no dump")
    return file


def tree(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory with something of every kind in it."""
    folder = tmp_path / "data"
    for name in ("spool/1.segment", "postgres-bin/18/initdb", "key", "dozor.lock", "secrets/token"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


ODD = [
    *(f"files/{name}" for name in sorted(NOT_KEPT)), *(f"files/{name}/x" for name in sorted(NOT_KEPT)),
    "files/../../elsewhere", "files//etc/passwd", "files/", "files/a/", "files/./a", "files/a/../b", "files/a//b",
    "spool/../key", "spool/..", "spool/", "files/" + "a/" * 40 + "b", "files/" + "x" * 300, "files/a\x00b",
]  # fmt: skip


@pytest.mark.parametrize("name", ODD, ids=ascii)
def test_a_file_that_would_lie_where_none_may_is_refused_by_its_name(name: str, data: Path, tmp_path: Path) -> None:
    """Also in the place of what a restore itself puts aside: it could not be finished, at no start any more."""
    before = tree(data)
    file = made(tmp_path / "odd.backup", {"files/key": b"new", name: b"boo"})
    with zipfile.ZipFile(file) as archive:
        kept = archive.namelist()
    if name not in kept:  # a zip ends a name at U+0000
        assert "\x00" in name
        return
    with pytest.raises(BackupError, match="not written by dozor"):
        restore(file, data, replace=True)
    assert tree(data) == before
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("names", [("files/a", "files/a/b"), ("files/a/b", "files/a"), ("spool/1", "spool/1/2")])
def test_a_file_in_the_place_of_a_folder_changes_nothing(names: tuple[str, str], data: Path, tmp_path: Path) -> None:
    before = tree(data)
    with pytest.raises(BackupError, match="was not restored, all is as it was"):
        restore(made(tmp_path / "odd.backup", dict.fromkeys(names, b"")), data, replace=True)
    assert tree(data) == before


@pytest.mark.parametrize(
    ("manifest", "told"),
    [
        (b"", "no back-up of dozor"),
        (b"{}", "no back-up of dozor"),
        (b"[1]", "no back-up of dozor"),
        (b"\xff", "no back-up of dozor"),
        (b"{" * 100_000, "no back-up of dozor"),
        (GOOD | {"created_at": "yesterday"}, "no back-up of dozor"),
        (GOOD | {"format": FORMAT + 1}, "which this one does not read: take that version"),
        (GOOD | {"schema": known() + 1, "version": "9.9"}, f"this version knows {known()}: take dozor 9.9 or later"),
    ],
    ids=range(8),
)
def test_a_manifest_that_is_none_of_ours(manifest: object, told: str, data: Path, tmp_path: Path) -> None:
    before = tree(data)
    with pytest.raises(BackupError, match=told):
        restore(made(tmp_path / "odd.backup", {}, manifest), data, replace=True)
    assert tree(data) == before


# -- the renames, wherever they are cut

NAMES = ["spool", "postgres", "key", "secrets", "extra"]


class Cut(BaseException):
    """Here the process was killed."""


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sets(st.sampled_from(NAMES)), st.sets(st.sampled_from(NAMES)), st.lists(st.integers(0, 14), max_size=4))
@example(set(NAMES), set(NAMES), [0, 1, 2, 3])
@example({"key"}, {"spool", "postgres"}, [2, 2])
def test_a_restore_that_is_cut_anywhere_and_again_is_finished_as_if_it_had_not_been(
    tmp_path_factory: pytest.TempPathFactory, old: set[str], new: set[str], cuts: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("data")
    for name in old:
        (folder / name).mkdir()
        (folder / name / "old").touch()
    for name in new:
        place = folder / "restore.new" / ("" if name in NOT_KEPT else "files") / name
        place.mkdir(parents=True)
        (place / "new").touch()
    (folder / "restore.new").mkdir(exist_ok=True)
    (folder / "restore.new" / "whole").touch()
    (folder / "dozor.lock").touch()
    for cut in cuts:
        with pytest.MonkeyPatch.context() as patch:
            left = [cut]
            for name in ("rename", "unlink", "mkdir", "rmdir"):
                plain = getattr(os, name)

                def counted(*args: object, plain: object = plain, left: list[int] = left, **more: object) -> object:
                    left[0] -= 1
                    if left[0] < 0:
                        raise Cut
                    return plain(*args, **more)  # type: ignore[operator]

                patch.setattr(os, name, counted)
            try:
                finish(folder)
            except Cut:
                continue
    finish(folder)
    # What the back-up has is new. Of the rest its own parts are gone, and what is no part of a back-up stays.
    wanted = {f"{name}/new" for name in new}
    wanted |= {f"{name}/old" for name in old - new if name not in NOT_KEPT}
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert found == wanted | {"dozor.lock"}
    assert not finish(folder)
