"""`[[egress]]` as the public contract gives it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.configuration.carriers import Egress
from gateway.configuration.reading import ConfigError, load
from gateway.mqtt import Broker
from tests.gateway.configuration.test_reading import read, refused
from tests.gateway.configuration.test_whole import told

LEAST = '[[egress]]\nname = "region"\nurl = "mqtt://host"\n'


def test_defaults_and_everything_said(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2\n")
    assert read(tmp_path, "").egress == []
    settings = read(
        tmp_path,
        LEAST + '[[egress]]\nname = "other-1"\nurl = "mqtts://u%40x:p%3A@[::1]:1"\nterminals = [" 7 ", "a/b"]\n'
        'start = "beginning"\ntls = {}\n[[egress]]\nname = "third"\nurl = "mqtt://u@h"\npassword_file = "secret"\n',
    )
    assert settings.egress == [
        Egress(
            name="region", url=Broker("mqtt", "host", 1883), terminals=[], start="now", password_file=None, tls=None
        ),
        Egress(
            name="other-1", url=Broker("mqtts", "::1", 1, "u@x", "p:"), terminals=["7", "a/b"], start="beginning",
            password_file=None, tls=None,
        ),
        Egress(
            name="third", url=Broker("mqtt", "h", 1883, "u"), terminals=[], start="now",
            password_file=tmp_path / "secret", tls=None,
        ),
    ]  # fmt: skip
    assert settings.configured == {"egress"}
    assert "p:" not in repr(settings)


def test_one_may_come_from_the_environment(tmp_path: Path) -> None:
    settings = read(
        tmp_path, LEAST, DOZOR_EGRESS__NAME="e", DOZOR_EGRESS__URL="mqtt://g:7", DOZOR_EGRESS__TERMINALS="1, 2"
    )
    assert [(entry.name, str(entry.url), entry.terminals) for entry in settings.egress] == [("e", "g:7", ["1", "2"])]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[[egress]]\nname = 'a'", "dozor.toml:1: egress.url: is missing: write it"),
        ("[[egress]]\nurl = 'mqtt://h'", "dozor.toml:1: egress.name: is missing: write it"),
        ("[egress]\nname = 'a'", "dozor.toml:1: egress: is not a table that repeats: write [[egress]]"),
        ("[[egress]]\nname = 'a'\nurl = 'egts://:hunter2@h'", "dozor.toml:3: egress.url: is no address of egts: write"),
        ("[[egress]]\nname = 'a'\nurl = 'egts://4294967296@h'", "dozor.toml:3: egress.url: is no address of egts: "),
        (
            "[[egress]]\nname = 'a'\nurl = 'wialon-retranslator://7@h'",
            "dozor.toml:3: egress.url: is no address of wialon-retranslator: write",
        ),
        ("[[egress]]\nname = 'a'\nurl = 'http://hunter2@h'", "dozor.toml:3: egress.url: is no mqtt or mqtts URL: "),
        ("[[egress]]\nname = 'a'\nurl = 'mqtt://u:hunter2@h:0'", "dozor.toml:3: egress.url: is no mqtt or mqtts URL: "),
        ("[[egress]]\nname = 'a'\nurl = 'mqtt://u:hunter2@h/x'", "dozor.toml:3: egress.url: is no mqtt or mqtts URL: "),
        ("[[egress]]\nname = 'a b'\nurl = 'mqtt://h'", 'dozor.toml:2: egress.name: "a b" is no name: write up to 64'),
        ("[[egress]]\nname = ''\nurl = 'mqtt://h'", 'dozor.toml:2: egress.name: "" is no name'),
        (LEAST + LEAST, 'dozor.toml:5: egress.name: "region" is there twice: each consumer has a cursor'),
        (LEAST + "start = 'then'", 'dozor.toml:4: egress.start: "then" is not known: take one of "now", "beginning"'),
        (LEAST + "terminals = ['']", 'dozor.toml:4: egress.terminals: "" is no identity'),
        (LEAST + "password_file = 'none'", "dozor.toml:4: egress.password_file: "),
        (LEAST + "password_file = 'dozor.toml'", "dozor.toml:4: egress.password_file: is set, and the url names no u"),
        (
            "[[egress]]\nname = 'a'\nurl = 'mqtt://u:hunter2@h'\npassword_file = 'dozor.toml'",
            "dozor.toml:4: egress.password_file: is set, and the url holds a password: ",
        ),
        (
            "[[egress]]\nname = 'a'\nurl = 'egts://7@h'\npassword_file = 'dozor.toml'",
            "dozor.toml:4: egress.password_file: is set, and egts has no password: remove it",
        ),
        (
            "[[egress]]\nname = 'a'\nurl = 'wialon-retranslator://h'\npassword_file = 'dozor.toml'",
            "dozor.toml:4: egress.password_file: is set, and wialon-retranslator has no password: remove it",
        ),
        (
            "[[egress]]\nname = 'a'\nurl = 'egts://h'\nterminals = ['7', '356938035643809']",
            'dozor.toml:4: egress.terminals: "356938035643809" is no object of egts: name numbers from 1 to 4294967295',
        ),
        (
            "[[egress]]\nname = 'a'\nurl = 'wialon-retranslator://h'\nterminals = ['a b']",
            'dozor.toml:4: egress.terminals: "a b" is no object of wialon-retranslator: name printable ASCII',
        ),
        (
            "[[egress]]\nname = 'a'\nurl = 'egts://h'\nterminals = ['4294967295', '07']",
            'dozor.toml:4: egress.terminals: "07" is no object of egts: ',
        ),
        (LEAST + "tls = {ca = 'dozor.toml'}", "dozor.toml:4: egress.tls: "),
        (LEAST + "tls = 'ca.pem'", "dozor.toml:4: egress.tls: "),
        (LEAST + "topic = 'x'", "dozor.toml:4: egress.topic: unknown key"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, problem: str) -> None:
    (found,) = refused(tmp_path, text)
    assert found.startswith(problem)
    assert "hunter2" not in found


def test_the_environment_is_refused_without_its_secret() -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, {"DOZOR_EGRESS__NAME": "a", "DOZOR_EGRESS__URL": "mqtt://u:hunter2@h:x"}, implicit=False)
    assert str(caught.value).startswith("environment: DOZOR_EGRESS__URL: is no mqtt or mqtts URL")
    assert "hunter2" not in str(caught.value)


def test_password_files_are_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = '[[egress]]\nname = "a"\nurl = "mqtt://u@h"\npassword_file = "secret"\n'
    (tmp_path / "secret").write_text("hunter2\n")
    assert told(tmp_path, text, capsys) == []
    (tmp_path / "secret").write_text("\n")
    (problem,) = told(tmp_path, text, capsys)
    assert problem.startswith("dozor.toml:4: egress.password_file: secret file secret is empty")
