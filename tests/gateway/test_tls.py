"""Certificates and keys: what cannot be used is named, with the remedy, before anything listens."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import pytest

from gateway.configuration.reading import ConfigError, load
from gateway.tls import server_context
from tests.gateway.receive.outside import make_certificate

LISTENER = '[[listen]]\nprotocol = "omnicomm"\ntls = {cert = "gateway.crt", key = "gateway.key"}\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_certificate(tmp_path, "gateway")
    make_certificate(tmp_path, "other")
    (tmp_path / "dozor.toml").write_text(LISTENER)
    return tmp_path


def problem(folder: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load(folder / "dozor.toml", {})
    return str(caught.value).replace(f"{folder}/", "")


def test_a_certificate_with_its_key(folder: Path) -> None:
    (listen,) = load(folder / "dozor.toml", {}).listen
    assert listen.tls is not None
    assert (listen.tls.cert, listen.tls.key) == (folder / "gateway.crt", folder / "gateway.key")
    context = server_context(listen.tls.cert, listen.tls.key)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_both_in_one_file(folder: Path) -> None:
    both = folder / "both.pem"
    both.write_bytes((folder / "gateway.key").read_bytes() + (folder / "gateway.crt").read_bytes())
    server_context(both, both)


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("gateway.crt", None, "cert gateway.crt: No such file or directory: create it"),
        ("gateway.key", None, "key gateway.key: No such file or directory: create it"),
        ("gateway.crt", b"\x30\x82\x01\x0a", "cert gateway.crt is no PEM file: convert it"),
        ("gateway.key", b"", "key gateway.key is no PEM file: convert it"),
        ("gateway.key", "other.key", "cert gateway.crt and key gateway.key do not belong together: take the key"),
        ("gateway.key", "other.crt", "key gateway.key holds no private key: name the file"),
        ("gateway.crt", "other.key", "cert gateway.crt holds no certificate: name the file"),
        ("gateway.crt", b"-----BEGIN CERTIFICATE-----\nxx\n-----END CERTIFICATE-----\n", "cert gateway.crt holds no"),
    ],
)
def test_what_is_wrong_is_named(folder: Path, file: str, content: bytes | str | None, told: str) -> None:
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes((folder / content).read_bytes() if isinstance(content, str) else content)
    assert problem(folder).startswith(f"dozor.toml:3: listen.tls: {told}")


def test_a_key_with_a_passphrase_does_not_wait_for_somebody_to_type_it(folder: Path) -> None:
    command = ["openssl", "pkey", "-in", folder / "gateway.key", "-aes256", "-passout", "pass:secret"]
    locked = subprocess.run(command, check=True, capture_output=True).stdout
    (folder / "gateway.key").write_bytes(locked)
    assert problem(folder).startswith("dozor.toml:3: listen.tls: key gateway.key has a passphrase: take it off: ")


def test_a_weak_certificate(folder: Path) -> None:
    command = ["openssl", "req", "-x509", "-newkey", "rsa:1024", "-nodes", "-subj", "/CN=weak", "-days", "2"]
    files = ["-keyout", folder / "gateway.key", "-out", folder / "gateway.crt"]
    subprocess.run([*command, *files], check=True, capture_output=True)
    if ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).security_level < 2:
        pytest.skip("this machine's OpenSSL takes short keys")
    assert " is too weak (EE_KEY_TOO_SMALL): make one with a longer key" in problem(folder)


def test_udp_has_no_tls(folder: Path) -> None:
    (folder / "dozor.toml").write_text(LISTENER.replace("omnicomm", "teltonika") + 'transport = "udp"\n')
    assert problem(folder).startswith("dozor.toml:3: listen.tls: there is none over udp: remove it")
