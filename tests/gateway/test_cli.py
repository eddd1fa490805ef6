"""The command line: versions, help, guesses for what was mistyped, completion."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.commands.table import COMMANDS, EXAMPLES, parser_of
from tests.harness import free_port

EXAMPLE_LINES = [line for lines in EXAMPLES.values() for line in lines]


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    try:
        code = main(list(words))
    except SystemExit as end:
        code = int(end.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


def test_every_command_shows_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(EXAMPLES) == set(COMMANDS)
    for name in COMMANDS:
        code, out, _ = said(capsys, name, "--help")
        assert code == 0
        assert all(example in out for example in EXAMPLES[name])
        assert said(capsys, "help", name)[1] == out


@pytest.mark.parametrize("line", EXAMPLE_LINES)
def test_every_example_is_one_that_the_command_takes(line: str) -> None:
    words = shlex.split(line.split("$(")[1].rstrip(')"') if "$(" in line else line.split(" > ")[0].split(" < ")[0])
    assert words[0] == "dozor"
    parser_of(words[1]).parse_args(words[1:])


# Those that reach for no store: what they are shown with works as it stands.
ALONE = ("decode teltonika", "clock", "policy list", "policy show", "version", "completion")


def words_of(line: str) -> list[str]:
    words = shlex.split(line.split("$(")[1].rstrip(')"') if "$(" in line else line.split(" > ")[0].split(" < ")[0])
    return words[1:]


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, and nothing of this machine's settings."""
    for name in [name for name in os.environ if name.startswith("DOZOR_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DOZOR_DATA_DIR", str(tmp_path / "data"))
    return tmp_path


@pytest.mark.parametrize("line", [line for line in EXAMPLE_LINES if any(f"dozor {its}" in line for its in ALONE)])
def test_an_example_that_needs_no_store_works_as_it_stands(
    line: str, empty: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = said(capsys, *words_of(line))
    assert (code, err) == (0, "")
    assert out
    assert not list(empty.iterdir())


@pytest.mark.parametrize("line", [line for line in EXAMPLE_LINES if "--config" not in line])
def test_each_command_takes_a_file_of_settings_wherever_it_stands(line: str) -> None:
    words = words_of(line)
    for at in {1, len(words)} | ({2} if words[0] in ("policy", "terminal", "user") else set()):
        args = parser_of(words[0]).parse_args([*words[:at], "--config", "some.toml", *words[at:]])
        assert args.config == Path("some.toml"), (words, at)


READERS = [
    line
    for line in EXAMPLE_LINES
    if not any(f"dozor {its}" in line for its in (*ALONE, "simulate", "policy", "rehearse"))
]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "settings.toml: No such file or directory: create it, or correct its path or rights"),
        (b"[limits]\nconections = 5\n", "settings.toml:2: limits.conections: unknown key: did you mean"),
        (b"\xff\xfe\x00", "settings.toml"),
    ],
    ids=["none", "wrong", "no text"],
)
def test_settings_that_cannot_be_read_are_told_by_every_command(
    empty: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, told: str
) -> None:
    if content is not None:
        (empty / "settings.toml").write_bytes(content)
    for line in READERS:
        words = words_of(line)
        if "--config" in words:
            del words[words.index("--config") : words.index("--config") + 2]
        code, out, err = said(capsys, *words, "--config", "settings.toml")
        assert (code, out) == (2, ""), words
        assert told in err, words
        assert "Traceback" not in err
    assert len(READERS) > 12
    assert not (empty / "data").exists()


def leaves() -> list[tuple[tuple[str, ...], argparse.ArgumentParser]]:
    """Every command, and every one below it, with its parser."""
    found: list[tuple[tuple[str, ...], argparse.ArgumentParser]] = []
    for name in COMMANDS:
        parser = parser_of(name).command(name)
        below = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
        found += [((name, sub), its) for one in below for sub, its in one.choices.items()] or [((name,), parser)]
    return found


ODD = ["", "x", "-1", "0x1", "1e999", "nan", "٣", "9" * 40, "a\x00b", "none/such/file", "ü" * 300]


@pytest.mark.parametrize(("words", "parser"), [pytest.param(*leaf, id=" ".join(leaf[0])) for leaf in leaves()])
def test_odd_arguments_are_refused_or_taken_and_never_an_error_of_ours(
    words: tuple[str, ...], parser: argparse.ArgumentParser, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [action for action in parser._actions if action.option_strings and action.nargs != 0]
    wanted = [action for action in parser._actions if not action.option_strings and action.nargs in (None, "+")]
    given = [str(next(iter(action.choices))) if action.choices else "1" for action in wanted]
    for action in options:
        if action.required:
            given += [action.option_strings[0], str(next(iter(action.choices or ["1"])))]
    for action in options:
        code, out, err = said(capsys, *words, *given, action.option_strings[0])
        assert (code, out) == (2, ""), (words, action.option_strings)
        assert "expected" in err
        for odd in ODD:
            refused = None
            try:
                parser_of(words[0]).parse_args([*words, *given, f"{action.option_strings[-1]}={odd}"])
            except SystemExit as end:
                refused = end.code
            told = capsys.readouterr().err
            assert refused in (None, 2)
            assert not refused or action.option_strings[-1] in told or repr(odd) in told, (words, odd, told)
    for extra in (["--no-such-option"], ["--no-such-option=1"]):
        code, out, err = said(capsys, *words, *given, *extra)
        assert (code, out) == (2, ""), words
        assert "--no-such-option" in err
    if wanted:
        code, out, err = said(capsys, *words)
        assert (code, out) == (2, ""), words
        assert "required" in err


def test_the_version_by_either_word(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "--version") == said(capsys, "version")


def test_help_by_itself_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = said(capsys, "help")
    assert code == 0
    assert all(f"    {name} " in out or f"    {name}\n" in out for name in COMMANDS)
    code, out, err = said(capsys)
    assert (code, out) == (2, "")
    assert "COMMAND" in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("serv", "there is no 'serv': did you mean 'serve'?"),
        ("chek-config", "did you mean 'check-config'?"),
        ("qqqq", "there is no 'qqqq': there are backtest, backup, calibration, check-config, clock"),
        ("help decod", "did you mean 'decode'?"),
        ("terminal lst", "did you mean 'list'?"),
        ("terminal list --jsn", "did you mean '--json'?"),
        ("simulate --termnals 3", "did you mean '--terminals'?"),
        ("simulate --protocol teltonica", "did you mean 'teltonika'?"),
        ("serve --zzz", "unrecognised: --zzz: see --help"),
    ],
)
def test_what_was_mistyped_is_guessed(capsys: pytest.CaptureFixture[str], words: str, told: str) -> None:
    code, out, err = said(capsys, *words.split())
    assert (code, out) == (2, "")
    assert told in err


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_shell_takes_its_completion(capsys: pytest.CaptureFixture[str], tmp_path: Path, shell: str) -> None:
    code, out, _ = said(capsys, "completion", shell)
    assert code == 0
    assert "--terminals" in out
    assert "check-config" in out
    if program := shutil.which(shell):
        (tmp_path / "completion").write_text(out)
        subprocess.run([program, "-n", str(tmp_path / "completion")], check=True, timeout=20)


def test_an_unreachable_target_is_explained() -> None:
    port = free_port()
    done = subprocess.run(
        [sys.executable, "-m", "gateway.cli", "simulate", "--protocol", "teltonika", "--terminals", "2",
         "--target", f"127.0.0.1:{port}", "--duration", "0.5"],
        capture_output=True, text=True, check=False, timeout=60, env={"PATH": os.environ["PATH"]},
    )  # fmt: skip
    assert done.returncode == 1
    assert f"nothing answers at 127.0.0.1:{port}: is the service running" in done.stderr
