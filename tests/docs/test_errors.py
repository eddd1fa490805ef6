"""docs/errors.md: each wrong input is given, and says what the page says, with its remedy and exit status."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.commands.table import COMMANDS

PAGE = (Path(__file__).parents[2] / "docs" / "errors.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `([^`]+)` \| `([^`]+)` \| (?:`([^`]+)` )?\| (\d) \|$", re.MULTILINE)
ROWS = [
    pytest.param(section.partition("\n")[0], *row, id=row[0])
    for section in PAGE.split("\n## ")[1:]
    for row in ROW.findall(section)
]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder, and nothing of this machine's settings."""
    for name in [name for name in os.environ if name.startswith("DOZOR_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DOZOR_DATA_DIR", str(tmp_path / "data"))


@pytest.mark.parametrize(("section", "given", "said", "remedy", "status"), ROWS)
def test_each_wrong_input(
    section: str, given: str, said: str, remedy: str, status: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = given.replace("\\n", "\n") + "\n"
    match section:
        case "Configuration":
            Path("dozor.toml").write_text(text, encoding="utf-8")
            command = ["check-config", "--config", "dozor.toml"]
        case "Fleet files":
            Path("fleet.csv").write_text(text, encoding="utf-8")
            command = ["terminal", "import", "fleet.csv"]
        case "Calibration files":
            Path("tank.csv").write_text(text, encoding="utf-8")
            command = ["calibration", "import", "67002", "1", "tank.csv"]
        case _:
            program, *command = shlex.split(given)
            assert program == "dozor"
    try:
        code = main(command)
    except SystemExit as error:  # argparse's own end
        code = int(error.code or 0)
    out, err = capsys.readouterr()
    assert code == int(status)
    assert out == ""
    assert said in err
    assert remedy in err[err.index(said) + len(said) :]
    assert not Path("data").exists(), "something was made all the same"


def test_the_tables_were_found() -> None:
    assert len(ROWS) == len(re.findall(r"^\| `", PAGE, re.MULTILINE)) > 20


def test_every_command_is_among_them() -> None:
    tried = {shlex.split(row.values[1])[1] for row in ROWS if row.values[0] == "Commands"}
    assert tried >= set(COMMANDS)
