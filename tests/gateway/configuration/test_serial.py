"""`[[serial]]`: what is read, what is refused, and with which remedy."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from gateway.configuration.reading import KEYS, ConfigError, Settings, load
from protocols.modbus_fuel.profile import MEASURES
from tests.gateway.configuration.serial_keys import SERIAL_KEYS

PORT = 'port = "/dev/ttyUSB0"\nterminal = "TANK-7"\n'


def read(folder: Path, text: str, **environment: str) -> Settings:
    file = folder / "dozor.toml"
    file.write_text(text)
    return load(file, {"HOME": str(folder), **environment})


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(folder, text)
    return [f"{problem.key}: {problem.what}: {problem.remedy}" for problem in caught.value.problems]


def test_every_key_is_known_here() -> None:
    assert {key for key in KEYS if key.startswith("serial.")} == SERIAL_KEYS


def test_none_is_the_default_and_a_line_has_its_own_defaults(tmp_path: Path) -> None:
    assert read(tmp_path, "").serial == []
    (line,) = read(tmp_path, f"[[serial]]\n{PORT}").serial
    assert (line.protocol, line.baudrate, line.parity, line.sensors, line.interval, line.profile, line.registers) == (
        "lls", 19_200, "none", [1], 10.0, "", None,
    )  # fmt: skip


def test_every_value(tmp_path: Path) -> None:
    text = (
        '[[serial]]\nport = "rfc2217://10.0.0.1:2217"\nprotocol = "modbus-fuel"\nbaudrate = 9600\nparity = "even"\n'
        'terminal = " TANK 8 "\nsensors = [30, 31]\ninterval = "1m"\nprofile = "daviteq-cap10"\n'
        f"[[serial]]\n{PORT}"
    )
    settings = read(tmp_path, text)
    first, second = settings.serial
    assert (first.port, first.protocol, first.baudrate, first.parity) == (
        "rfc2217://10.0.0.1:2217", "modbus-fuel", 9600, "even",
    )  # fmt: skip
    assert (first.terminal, first.sensors, first.interval, first.profile) == (
        "TANK 8", [30, 31], 60.0, "daviteq-cap10",
    )  # fmt: skip
    assert first.registers is not None
    assert first.registers.level
    assert second.terminal == "TANK-7"
    assert pickle.loads(pickle.dumps(settings)) == settings  # as workers are told


def test_a_profile_of_one_s_own_and_a_change_of_it_is_a_change(tmp_path: Path) -> None:
    file = tmp_path / "probe.toml"
    file.write_text('name = "x"\n[[value]]\nmeasure = "level"\nfunction = 4\nstart = 7\n')
    text = f'[[serial]]\n{PORT}protocol = "modbus-fuel"\nprofile = "./probe.toml"\n'
    (before,) = read(tmp_path, text).serial
    assert before.profile == str(file)
    assert before.registers is not None
    assert before.registers.reads[0].start == 7
    file.write_text(file.read_text().replace("7", "8"))
    (after,) = read(tmp_path, text).serial
    assert after != before
    file.write_text("name = 1")
    assert "is no register profile" in problems(tmp_path, text)[0]
    file.write_bytes(b"\xff")
    assert "correct the file" in problems(tmp_path, text)[0]
    file.write_bytes(b"#" * (1 << 17))
    assert "larger than 64 KiB" in problems(tmp_path, text)[0]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('terminal = "T"', "serial.port: is missing"),
        ('port = "ttyUSB0"\nterminal = "T"', 'serial.port: "ttyUSB0" is no port'),
        ('port = "socket://host"\nterminal = "T"', "serial.port: \"socket://host\" has no host or no port"),
        ('port = "socket://h:99999"\nterminal = "T"', "has no host or no port"),
        ('port = "nothing://x"\nterminal = "T"', "is no URL of a port"),
        ('port = "/dev/ttyS0"', "serial.terminal: names no terminal"),
        ('port = "/dev/ttyS0"\nterminal = "' + "x" * 65 + '"', "serial.terminal: names no terminal"),
        (PORT + 'protocol = "teltonika"', 'serial.protocol: "teltonika" is not known: take one of "lls", "modbus'),
        (PORT + "baudrate = 1", "serial.baudrate: 1 is out of range"),
        (PORT + 'parity = "mark"', 'serial.parity: "mark" is not known'),
        (PORT + "sensors = []", "serial.sensors: names 0 addresses"),
        (PORT + "sensors = [0]", "serial.sensors: there is no address 0: take 1 to 254"),
        (PORT + "sensors = [256]", "serial.sensors: 256 is out of range"),
        (PORT + "sensors = [1, 2, 1]", "serial.sensors: names an address twice"),
        (PORT + f"sensors = {list(range(1, 66))}", "serial.sensors: names 65 addresses: take 1 to 64"),
        (PORT + "interval = 0.01", "serial.interval: 0.01 s is shorter than 0.1 s"),
        (PORT + 'profile = "daviteq-cap10"', "serial.profile: lls has none: remove it"),
        (PORT + 'protocol = "modbus-fuel"', "serial.profile: is empty, and modbus-fuel needs one"),
        (PORT + 'protocol = "modbus-fuel"\nprofile = "nothing"', 'there is no register profile "nothing": take one of'),
        (PORT + 'protocol = "modbus-fuel"\nprofile = "/nothing.toml"', "is no file"),
        (PORT + 'protocol = "modbus-fuel"\nprofile = "daviteq-cap10"\nsensors = [248]', "take 1 to 247"),
        (PORT + "parity = 1\n[[serial]]\n" + PORT.replace("TANK-7", "TANK-8"), "/dev/ttyUSB0 stands in another"),
        (PORT + "[[serial]]\n" + PORT.replace("USB0", "USB1"), "TANK-7 stands in another [[serial]] too"),
        (PORT + 'adress = 1', "serial.adress: unknown key"),
    ],
)  # fmt: skip
def test_refusals(tmp_path: Path, text: str, what: str) -> None:
    found = problems(tmp_path, f"[[serial]]\n{text}\n")
    assert any(what in problem for problem in found), found


def test_a_record_has_room_for_so_many_values(tmp_path: Path) -> None:
    """64 sensors of an ordinary profile fit; of one with many values fewer do."""
    text = f'[[serial]]\n{PORT}protocol = "modbus-fuel"\nsensors = {list(range(1, 65))}\nprofile = '
    assert read(tmp_path, text + '"daviteq-cap10"').serial
    file = tmp_path / "much.toml"
    file.write_text(
        'name = "x"\n'
        + "".join(
            f'[[value]]\nmeasure = "{name}"\nfunction = 4\nstart = {start}\n' for start, name in enumerate(MEASURES)
        )
    )
    assert "a record has room for 39 of this profile" in problems(tmp_path, text + '"./much.toml"')[0]


def test_nobody_listens_for_what_is_spoken_on_lines(tmp_path: Path) -> None:
    assert problems(tmp_path, '[[listen]]\nprotocol = "lls"\n') == [
        "listen.protocol: lls is spoken on serial lines, nobody listens for it: write it under [[serial]]"
    ]


def test_one_line_may_come_from_the_environment(tmp_path: Path) -> None:
    (line,) = read(
        tmp_path, f"[[serial]]\n{PORT}[[serial]]\n", DOZOR_SERIAL__PORT="/dev/ttyS9", DOZOR_SERIAL__TERMINAL="T",
        DOZOR_SERIAL__SENSORS="4,5", DOZOR_SERIAL__INTERVAL="2s", DOZOR_SERIAL__BAUDRATE="9600",
    ).serial  # fmt: skip
    assert (line.port, line.terminal, line.sensors) == ("/dev/ttyS9", "T", [4, 5])
    assert (line.interval, line.baudrate) == (2.0, 9600)
