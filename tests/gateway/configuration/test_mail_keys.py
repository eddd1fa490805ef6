"""`[[mailbox]]` and `[lmtp]`: what they mean, what is wrong."""

from pathlib import Path

import pytest

from gateway.configuration.reading import ConfigError, load
from gateway.configuration.values import Address

BOX = '[[mailbox]]\nhost = "imap.example"\nuser = "desk"\npassword_file = "password"\n'


def settings(folder: Path, text: str, **environ: str):
    file = folder / "dozor.toml"
    file.write_text(text, encoding="utf-8")
    (folder / "password").write_text("x")
    return load(file, {"HOME": "/x", **environ}, implicit=False, whole=True)


def test_defaults(tmp_path: Path) -> None:
    found = settings(tmp_path, BOX)
    (box,) = found.mailbox
    assert (box.host, box.port, box.tls, box.user, box.folder, box.poll) == (
        "imap.example",
        993,
        "tls",
        "desk",
        "INBOX",
        30,
    )
    assert box.password_file == tmp_path / "password"
    assert found.lmtp.address is None
    assert settings(tmp_path, "").mailbox == []


def test_all_of_them(tmp_path: Path) -> None:
    more = 'port = 143\ntls = "starttls"\nfolder = "Заявки"\npoll = "2m"\n'
    found = settings(tmp_path, BOX + more + BOX + '[lmtp]\naddress = "127.0.0.1:2525"\n')
    assert (found.mailbox[0].port, found.mailbox[0].folder, found.mailbox[0].poll) == (143, "Заявки", 120)
    assert found.mailbox[1].folder == "INBOX"
    assert found.lmtp.address == Address("127.0.0.1", 2525)


def test_one_mailbox_may_come_from_the_environment(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("x")
    environ = {"HOST": "h", "USER": "u", "PASSWORD_FILE": str(tmp_path / "password")}
    found = settings(tmp_path, "", **{f"DOZOR_MAILBOX__{name}": value for name, value in environ.items()})
    assert (found.mailbox[0].host, found.mailbox[0].user) == ("h", "u")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[[mailbox]]\nuser = "u"\npassword_file = "password"', "1: mailbox.host: is missing"),
        (BOX.replace('"desk"', '""'), "3: mailbox.user: is empty"),
        (BOX.replace('"password"', '"none"'), "4: mailbox.password_file: none is no file"),
        (BOX + 'tls = "ssl"', '5: mailbox.tls: "ssl" is not known'),
        (BOX + "port = 0", "5: mailbox.port: 0 is out of range"),
        (BOX + 'poll = "0s"', "5: mailbox.poll: "),
        (BOX + BOX, "desk at imap.example, folder INBOX, stands in another [[mailbox]] too: keep one of them"),
        ('[lmtp]\naddress = "2525"', '2: lmtp.address: "2525" is no address'),
        ('[lmtp]\naddress = "127.0.0.1:8080"', "2: lmtp.address: 127.0.0.1:8080 (tcp) is taken by desk.address"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(tmp_path, text)
    (problem,) = [str(one).replace(f"{tmp_path}/", "") for one in caught.value.problems]
    assert problem.startswith("dozor.toml:")
    assert told in problem
