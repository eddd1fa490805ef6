"""`check-config` reads whatever the service would, and tells all of it at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.cli import main
from gateway.configuration.reading import load

MAIL = '[mail]\nhost = "h"\nto = ["a@example.org"]\nuser = "u"\npassword_file = "secret"\n'
HOOK = '[[webhook]]\nurl = "http://one.example"\n[[webhook]]\nurl = "http://two.example"\nsecret_file = "secret"\n'


def told(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    file = tmp_path / "dozor.toml"
    file.write_text(text)
    code = main(["check-config", "--config", str(file)])
    out, err = capsys.readouterr()
    assert code == (2 if err else 0)
    assert ("usable" in out) == (not err)
    return err.replace(f"{tmp_path}/", "").splitlines()


def test_the_catalogue_is_read_and_all_of_it_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = 'grace_days = -1\n[[release]]\nmodel = "m"\nversion = 1\nreleased = 2025-01-01\n'
    (tmp_path / "c.toml").write_text(wrong)
    config = "[watch.firmware]\ncatalogue = 'c.toml'\n"
    assert told(tmp_path, config, capsys) == [
        "dozor.toml:2: watch.firmware.catalogue: c.toml:1: grace_days: must be a number of days, not -1",
        "dozor.toml:2: watch.firmware.catalogue: c.toml:4: release 1: version: must be a text in quotes, such as "
        '"03.27.07"',
    ]
    assert load(tmp_path / "dozor.toml", {}).watch.firmware.catalogue == tmp_path / "c.toml"  # others do not need it
    (tmp_path / "c.toml").write_text("")
    assert told(tmp_path, config, capsys) == []


@pytest.mark.parametrize(("text", "place"), [(MAIL, "5: mail.password_file"), (HOOK, "5: webhook.secret_file")])
def test_secrets_are_read(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, place: str) -> None:
    (tmp_path / "secret").write_text("hunter2\n")
    assert told(tmp_path, text, capsys) == []
    (tmp_path / "secret").write_text("\n")
    remedy = "put the secret into it, readable for the service"
    assert told(tmp_path, text, capsys) == [f"dozor.toml:{place}: secret file secret is empty: {remedy}"]


def test_what_keys_say_together_is_told_beside_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (
        "[watch.silence]\nfloor = '25h'\n[login]\ntimeout = -1\n[mail]\nhost = 'h'\nport = 0\n"
        "[[listen]]\nprotocol = 'teltonika'\naddress = 'a:1'\n"
        "[[listen]]\nprotocol = 'omnicomm'\naddress = 'a:1'\n"
        "[[listen]]\nprotocol = 'smtp'\naddress = 'a:1'\n[desk]\naddress = 'x'\n"
    )
    assert [problem.split(": ")[:2] for problem in told(tmp_path, text, capsys)] == [
        ["dozor.toml:2", "watch.silence.floor"],
        ["dozor.toml:4", "login.timeout"],
        ["dozor.toml:6", "mail.to"],
        ["dozor.toml:7", "mail.port"],
        ["dozor.toml:13", "listen.address"],
        ["dozor.toml:15", "listen.protocol"],
        ["dozor.toml:18", "desk.address"],
    ]


@pytest.mark.parametrize(
    "text",
    [
        "[watch.silence]\nfloor = 'x'",
        "[watch.silence]\nceiling = 'x'",
        "[mail]\nhost = 1",
        "[mail]\nhost = 'h'\nto = 1",
        "[mail]\nhost = 'h'\nto = ['a@b']\nfrom = 1",
        "[mail]\nuser = 'u'\npassword_file = 1",
        "[[listen]]\nprotocol = 'omnicomm'\ntransport = 1",
        "[[listen]]\nprotocol = 'omnicomm'\naddress = 1",
        "[metrics]\naddress = 1",
    ],
)
def test_one_mistake_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    assert len(told(tmp_path, text, capsys)) == 1
