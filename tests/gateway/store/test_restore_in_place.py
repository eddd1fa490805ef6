"""A restore that is cut anywhere is finished later, or has changed nothing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.store.restore import finish, is_empty


class Cut(BaseException):
    """As `kill -9` would."""


def laid_out(folder: Path, *, before: bool) -> None:
    """What a restore has built, beside old data or none."""
    new = folder / "restore.new"
    (new / "postgres").mkdir(parents=True)
    (new / "postgres" / "PG_VERSION").write_text("new")
    (new / "spool").mkdir()
    (new / "spool" / "00000001.spool").write_text("new")
    (new / "files").mkdir()
    (new / "files" / "key").write_text("new")
    (new / "whole").touch()
    if before:
        (folder / "postgres").mkdir()
        (folder / "postgres" / "PG_VERSION").write_text("old")
        (folder / "spool").mkdir()
        (folder / "spool" / "00000007.spool").write_text("old")
        (folder / "key").write_text("old")
        (folder / "note").write_text("somebody's")


def found(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def cut_after(steps: int, plain: Callable[..., object]) -> Callable[..., object]:
    """`plain`, which works so many times."""
    count = 0

    def call(*arguments: object, **named: object) -> object:
        nonlocal count
        count += 1
        if count > steps:
            raise Cut
        return plain(*arguments, **named)

    return call


OTHERS = {"note": "somebody's"}
RESTORED = {"postgres/PG_VERSION": "new", "spool/00000001.spool": "new", "key": "new"}


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("call", ["rename", "touch", "unlink", "mkdir"])
def test_cut_before_any_step_and_finished_by_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bool, call: str
) -> None:
    for steps in range(100):
        folder = tmp_path / f"{steps}"
        folder.mkdir()
        laid_out(folder, before=before)
        with monkeypatch.context() as patch:
            patch.setattr(Path, call, cut_after(steps, getattr(Path, call)))
            with suppress(Cut):
                finish(folder)
                assert steps >= 1
                assert found(folder) == RESTORED | (OTHERS if before else {})
                return
        finish(folder)
        assert found(folder) == RESTORED | (OTHERS if before else {})
    raise AssertionError("it never came to an end")


def test_what_was_not_built_whole_is_nobodys(tmp_path: Path) -> None:
    laid_out(tmp_path, before=True)
    (tmp_path / "restore.new" / "whole").unlink()
    assert not finish(tmp_path)
    assert (tmp_path / "postgres" / "PG_VERSION").read_text() == "old"


def test_a_directory_with_no_more_than_a_lock_is_empty(tmp_path: Path) -> None:
    (tmp_path / "dozor.lock").touch()
    assert is_empty(tmp_path)
    (tmp_path / "spool").mkdir()
    assert not is_empty(tmp_path)
