"""What docs/operations.md says of a proxy in front of the desk: its settings are taken, and real proxies run by it."""

from __future__ import annotations

import json
import os
import re
import ssl
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path

import httpx
import pytest

from gateway.configuration.reading import load
from tests.gateway.receive.outside import make_certificate
from tests.gateway.wire import wait_for
from tests.harness import ServiceProcess, free_port, running_service

SECTION = (
    (Path(__file__).parents[2] / "docs" / "operations.md")
    .read_text(encoding="utf-8")
    .partition("## The desk behind a proxy")[2]
    .partition("\n## ")[0]
)
PASSWORD = "correct horse battery"


def block(kind: str) -> str:
    found = re.search(rf"```{kind}\n(.*?)\n```", SECTION, re.DOTALL)
    assert found is not None
    return found[1]


NAME = tomllib.loads(block("toml"))["desk"]["url"].removeprefix("https://")


def test_the_settings_are_taken_and_meet_the_proxies_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOZOR_DESK__ADDRESS", raising=False)
    file = tmp_path / "dozor.toml"
    file.write_text(f'data_dir = "{tmp_path}"\n{block("toml")}\n')
    desk = load(file, implicit=False).desk
    assert desk.url.startswith("https://")
    assert desk.trusted_proxies == [ip_network("127.0.0.1/32")]
    assert f"proxy_pass http://{desk.address};" in block("nginx")
    assert f"reverse_proxy {desk.address}" in block("caddy")
    assert f"server_name {NAME};" in block("nginx")
    assert block("caddy").startswith(f"{NAME} {{")


def test_nginx_passes_host_on_and_overwrites_what_a_stranger_forwarded() -> None:
    headers = dict(re.findall(r"proxy_set_header (\S+) (\S+);", block("nginx")))
    assert headers == {"Host": "$http_host", "X-Forwarded-For": "$remote_addr"}


# -- the programs judge the examples, and run by them -----------------------------------------------------------------


def replaced(text: str, **words: str) -> str:
    """The example with what is another here: each word has to stand in it once."""
    for old, new in words.items():
        word = {"listen": "443 ssl", "cert": "/etc/ssl/desk.pem", "key": "/etc/ssl/desk.key", "desk": "127.0.0.1:8080"}
        assert text.count(word[old]) == 1, old
        text = text.replace(word[old], new)
    return text


def nginx_file(folder: Path, port: int, desk: str) -> Path:
    """The example as the whole of a configuration that writes below `folder` alone."""
    cert, key = make_certificate(folder, NAME)
    server = replaced(block("nginx"), listen=f"127.0.0.1:{port} ssl", cert=str(cert), key=str(key), desk=desk)
    folders = "".join(f"{what}_temp_path {folder};" for what in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    user = "user root;" if os.geteuid() == 0 else ""
    file = folder / "nginx.conf"
    file.write_text(
        f"{user} daemon off; pid {folder}/pid; error_log stderr; events {{}}\n"
        f"http {{ access_log off; {folders}\n{server}\n}}\n"
    )
    return file


def test_nginx_takes_the_example(nginx: Path, tmp_path: Path) -> None:
    file = nginx_file(tmp_path, free_port(), "127.0.0.1:8080")
    done = subprocess.run([nginx, "-t", "-c", file], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "test is successful" in done.stderr
    file.write_text(file.read_text().replace("proxy_set_header Host", "proxy_set_headers Host"))
    assert subprocess.run([nginx, "-t", "-c", file], capture_output=True, check=False, timeout=60).returncode == 1


def caddy_environment(folder: Path) -> dict[str, str]:
    return {"HOME": str(folder), "PATH": os.environ["PATH"]}


def test_caddy_takes_the_example(caddy: Path, tmp_path: Path) -> None:
    file = tmp_path / "Caddyfile"
    command = [caddy, "validate", "--adapter", "caddyfile", "--config", file]
    for text, code in ((block("caddy"), 0), (block("caddy").replace("reverse_proxy", "reverse_proxies"), 1)):
        file.write_text(text + "\n")
        done = subprocess.run(
            command, env=caddy_environment(tmp_path), capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == code, done.stderr


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    file = tmp_path_factory.mktemp("desk") / "dozor.toml"
    file.write_text(block("toml") + "\n")  # the address is another: the environment has it, and wins
    with running_service(DOZOR_CONFIG=str(file)) as running:
        done = running.command("user", "add", "ann", "--role", "admin", "--password-stdin", text=PASSWORD)
        assert done.returncode == 0, done.stderr
        yield running


@contextmanager
def proxy(command: list[str | Path], folder: Path) -> Iterator[None]:
    """A proxy runs."""
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, env=caddy_environment(folder), stdout=log, stderr=log) as process,
    ):
        try:
            yield
            assert process.poll() is None, (folder / "log").read_text()
        finally:
            process.terminate()


def browser(base: str, source: str, trust: Path | None, **headers: str) -> httpx.Client:
    """Somebody at the address `source`, who types the desk's public name."""
    context = ssl.create_default_context(cafile=trust) if trust else False
    way = httpx.HTTPTransport(local_address=source, verify=context)
    return httpx.Client(base_url=base, transport=way, headers={"Host": NAME, **headers})


def attempt(client: httpx.Client, password: str) -> httpx.Response:
    """Sign in, or try to; cookies are Secure, and by plain HTTP they are passed on by hand."""
    extensions = {"sni_hostname": NAME}
    page = client.get("/login", extensions=extensions)
    assert page.status_code == 200, page.text
    cookie = page.headers["Set-Cookie"]
    assert "Secure" in cookie
    csrf = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert csrf is not None
    return client.post(
        "/login",
        data={"username": "ann", "password": password, "csrf": csrf[1]},
        headers={"Origin": f"https://{NAME}", "Cookie": cookie.partition(";")[0]},
        extensions=extensions,
    )


def addresses(service: ServiceProcess, event: str) -> set[str]:
    return {line["address"] for line in map(json.loads, service.log.read_text().splitlines()) if line["event"] == event}


@pytest.mark.parametrize("name", ["nginx", "caddy"])
def test_through_the_proxy_each_counts_for_himself(
    service: ServiceProcess, name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The desk knows who signs in, whatever a stranger claims; one who guesses locks out himself alone."""
    program, port, desk = request.getfixturevalue(name), free_port(), f"127.0.0.1:{service.ports['desk']}"
    network = {"nginx": "127.0.1", "caddy": "127.0.2"}[name]
    trust = None
    if name == "nginx":
        command: list[str | Path] = [program, "-c", nginx_file(tmp_path, port, desk)]
        base, trust = f"https://127.0.0.1:{port}", tmp_path / f"{NAME}.crt"
    else:
        file = tmp_path / "Caddyfile"  # a certificate for the name would have to be asked of somebody
        text = replaced(block("caddy"), desk=desk).replace(NAME, f"http://{NAME}:{port}", 1)
        file.write_text(f"{{\n    admin off\n}}\n{text}\n")
        command, base = [program, "run", "--adapter", "caddyfile", "--config", file], f"http://127.0.0.1:{port}"
    claim = {"X-Forwarded-For": "203.0.113.9"}

    def up() -> bool:
        try:
            with browser(base, f"{network}.1", trust) as client:
                return client.get("/healthz", extensions={"sni_hostname": NAME}).status_code < 500
        except httpx.TransportError:
            return False

    with proxy(command, tmp_path):
        wait_for(up)
        with browser(base, f"{network}.2", trust, **claim) as stranger:
            codes = [attempt(stranger, "guess").status_code for _ in range(6)]
            assert codes == [401] * 5 + [429]
            assert attempt(stranger, PASSWORD).status_code == 429
        with browser(base, f"{network}.3", trust, **claim) as ann:
            done = attempt(ann, PASSWORD)
            assert (done.status_code, done.headers["Location"]) == (303, "/tickets")
            session = done.headers["Set-Cookie"].partition(";")[0]
            page = ann.get("/tickets", headers={"Cookie": session}, extensions={"sni_hostname": NAME})
            assert page.status_code == 200
    here = [address for address in addresses(service, "sign-in refused") if address.startswith(network)]
    assert here == [f"{network}.2"]
    assert f"{network}.3" in addresses(service, "signed in")
    assert "203.0.113.9" not in service.log.read_text()
    assert "forwarded header not believed" not in service.log.read_text()
