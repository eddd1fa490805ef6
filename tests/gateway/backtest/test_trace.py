"""Traces: what is written is read, in slices; what cannot be is refused by the member's name."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway.backtest.trace import SLICE, Trace, TraceWriter
from gateway.errors import BacktestError

GOOD: dict[str, Any] = {
    "names": np.array(["860000000000009", "wheel-loader 7"]),
    "terminal": np.array([-1, 0, 1, 0], np.int32),
    "received": np.array([1, 2, 2, 5], np.int64) * 1_000_000,
    "time": np.array([1, 2, 1, 4], np.int64) * 1_000_000,
    "kind": np.array([10, 2, 0, 1], np.int8),
    "ignition": np.array([-1, -1, 1, 0], np.int8),
    "fuel.level": np.array([np.nan, np.nan, 31.5, np.nan]),
}


def saved(tmp_path: Path, **changes: Any) -> Path:
    """A trace with these arrays in place of good ones; None leaves one out."""
    arrays = {name: array for name, array in {**GOOD, **changes}.items() if array is not None}
    file = tmp_path / "trace.npz"
    np.savez(file, **arrays)
    return file


@pytest.mark.parametrize("size", [1, 3, SLICE])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_numpy_saved_is_read_in_slices(tmp_path: Path, save: Any, size: int) -> None:
    save(tmp_path / "t.npz", **GOOD)
    trace = Trace(tmp_path / "t.npz")
    assert trace.names == GOOD["names"].tolist()
    assert trace.rows == 4
    parts = list(trace.slices(size))
    assert all(len(part["terminal"]) <= size for part in parts)
    for name in trace.columns:
        np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), GOOD[name])


def test_what_is_written_numpy_loads_and_we_read(tmp_path: Path) -> None:
    file = tmp_path / "t.npz"
    rows = {name: array for name, array in GOOD.items() if name != "names"}
    with TraceWriter(file, GOOD["names"].tolist(), {"fuel.level": np.float32}) as writer:
        writer.append({name: array[:3] for name, array in rows.items()})
        writer.append({name: array[3:] for name, array in rows.items()})
        assert not file.exists()
    with np.load(file) as loaded:
        for name, array in GOOD.items():
            np.testing.assert_array_equal(loaded[name], array)
    (part,) = Trace(file).slices()
    np.testing.assert_array_equal(part["fuel.level"], GOOD["fuel.level"])
    assert [path.name for path in tmp_path.iterdir()] == ["t.npz"]


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyError), TraceWriter(tmp_path / "t.npz", ["1"], {}) as writer:
        writer.append({"terminal": np.zeros(1)})
    assert list(tmp_path.iterdir()) == []


def test_an_empty_trace_has_no_slices(tmp_path: Path) -> None:
    empty = {name: array[:0] for name, array in GOOD.items() if name != "names"}
    assert list(Trace(saved(tmp_path, **empty)).slices()) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": None}, "kind: is missing"),
        ({"names": None}, "names: is missing"),
        ({"time": GOOD["time"][:3]}, "time: has 3 rows, and terminal has 4"),
        ({"kind": GOOD["kind"].reshape(2, 2)}, "kind: has shape (2, 2)"),
        ({"time": GOOD["time"] / 1e6}, "time: holds float64: give it integers"),
        ({"names": np.array([b"1", b"2"])}, "names: holds |S1: give it str"),
        ({"names": np.array(["1", "1"])}, "names: '1' is there twice"),
        ({"names": np.array(["1", ""])}, "names: number 1, '', is no identity"),
        ({"names": np.array(["1", "x" * 65])}, "names: 2 of 65 characters"),
        ({"names": np.array(["1", "a\nb"])}, "names: number 1"),
        ({"fuel.level": np.array(["a"] * 4)}, "fuel.level: holds <U1: give it floats"),
        ({"fuel.level": np.array([None] * 4)}, "fuel.level: holds object: give it floats"),
        ({"../../x": GOOD["fuel.level"]}, "is no name of a column"),
    ],
)
def test_a_file_that_cannot_be_a_trace_is_refused_at_once(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BacktestError) as refused:
        Trace(saved(tmp_path, **changes))
    assert said in str(refused.value)
    assert str(refused.value).startswith(str(tmp_path / "trace.npz"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"received": GOOD["received"][::-1]}, "received: row 1: 2000000: sort the rows by received"),
        ({"received": np.array([1, 2, 3, 1_795_003_200 * 10**9])}, "received: row 3: 1795003200000000000: give µs"),
        ({"terminal": np.array([-1, 0, 2, 0])}, "terminal: row 2: 2: there are 2 names"),
        ({"terminal": np.array([-2, 0, 1, 0])}, "terminal: row 0: -2"),
        ({"terminal": np.array([1 << 40, 0, 1, 0])}, "terminal: holds numbers beyond int32"),
        ({"kind": np.array([10, 2, 7, 1])}, "kind: row 2: 7"),
        ({"kind": np.array([10, 2, 11, 1])}, "kind: row 2: 11"),
        ({"kind": np.array([0, 2, 0, 1])}, "kind: row 0: 0: of the gateway"),
        ({"ignition": np.array([-1, 0, 2, 1])}, "ignition: row 2: 2: -1, 0 or 1"),
    ],
)
@pytest.mark.parametrize("size", [1, SLICE])
def test_a_row_that_cannot_be_is_refused_when_it_comes(
    tmp_path: Path, changes: dict[str, Any], said: str, size: int
) -> None:
    trace = Trace(saved(tmp_path, **changes))
    with pytest.raises(BacktestError) as refused:
        list(trace.slices(size))
    assert said in str(refused.value)


def test_damage_anywhere_is_told_and_never_anything_else(tmp_path: Path) -> None:
    raw = saved(tmp_path).read_bytes()
    file = tmp_path / "damaged.npz"
    rng = np.random.default_rng(1)
    whole = {name: array for name, array in GOOD.items() if name != "names"}
    for cut in (0, 10, len(raw) // 2, len(raw) - 1):
        file.write_bytes(raw[:cut])
        with pytest.raises(BacktestError, match="is no trace, or is damaged"):
            Trace(file)
    for _ in range(300):
        bad = bytearray(raw)
        for at in rng.integers(0, len(raw), 3).tolist():
            bad[at] = int(rng.integers(256))
        file.write_bytes(bytes(bad))
        refused, part = _read(file)
        if part is None:
            assert refused.startswith(str(file))
        else:  # what changed was nothing that is read: the dates of the archive
            for name in whole:
                np.testing.assert_array_equal(part[name], whole[name])


def _read(file: Path) -> tuple[str, Any]:
    try:
        (part,) = Trace(file).slices()
    except BacktestError as error:
        return str(error), None
    return "", part


def test_an_array_that_claims_more_than_it_has(tmp_path: Path) -> None:
    file = saved(tmp_path)
    huge = tmp_path / "huge.npz"
    with zipfile.ZipFile(file) as source, zipfile.ZipFile(huge, "w") as target:
        for info in source.infolist():
            data = source.read(info)
            target.writestr(
                info.filename, data.replace(b"(4,)", b"(9999999999,)") if "names" not in info.filename else data
            )
    with pytest.raises(BacktestError, match="ends before its last row: write the file anew"):
        list(Trace(huge).slices())


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BacktestError, match=r"cannot be read: No such file or directory: correct its path or rights"):
        Trace(tmp_path / "none.npz")
