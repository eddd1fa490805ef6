"""deploy/mosquitto as it stands: TLS with client certificates for terminals, a password for the gateway, rights."""

from __future__ import annotations

import shutil
import subprocess
from functools import partial
from pathlib import Path

import paho.mqtt.client as paho
import pytest

from gateway.configuration.reading import ConfigError, load
from tests.gateway.broker.outside import broker, frame, now_ms, service, until
from tests.harness import ROOT, ServiceProcess, free_port

DEPLOY = ROOT / "deploy" / "mosquitto"
IMEI = "356938035643809"


def certificates(folder: Path, *names: str) -> None:
    """An authority, and certificates of it with these common names, all for 127.0.0.1."""

    def run(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    run("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=authority")
    (folder / "extensions").write_text("subjectAltName=IP:127.0.0.1\n")
    for name in names:
        run("req", *key[:-2], "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        run(
            "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
            "-out", f"{name}.crt", "-days", "2", "-extfile", "extensions",
        )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("certs")
    if shutil.which("openssl") is None:
        pytest.skip("openssl cannot be had here")
    certificates(found, "broker", "dozor", IMEI)
    return found


def publish_as(name: str, folder: Path, port: int, topic: str, payload: bytes) -> int:
    """Publish with that certificate; the reason code of the broker's answer."""
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5, client_id="anything")
    client.tls_set(str(folder / "ca.crt"), str(folder / f"{name}.crt"), str(folder / f"{name}.key"))
    answers: list[int] = []
    client.on_publish = lambda _client, _data, _mid, reason, _properties: answers.append(reason.value)
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        client.publish(topic, payload, 1)
        until(lambda: bool(answers))
    finally:
        client.disconnect()
        client.loop_stop()
    return answers[0]


def test_the_example(mosquitto: Path, folder: Path) -> None:
    """By certificate the gateway reads what terminals write, each only its own."""
    port = free_port()
    text = (DEPLOY / "mosquitto.conf").read_text()
    text = text.replace("listener 8883", f"listener {port} 127.0.0.1").replace("/etc/mosquitto/certs", str(folder))
    plain = free_port()
    text = text.replace("listener 1883 127.0.0.1", f"listener {plain} 127.0.0.1")
    with broker(mosquitto) as at:
        at.stop()
        text = text.replace("/etc/mosquitto/acl", str(DEPLOY / "acl")).replace("/var/lib/mosquitto", str(at.folder))
        passwords = at.folder / "passwd"
        text = text.replace("/etc/mosquitto/passwd", str(passwords))
        hashed = "dozor:hunter2\n"
        passwords.write_text(hashed)
        hash_passwords(mosquitto, passwords)
        (at.folder / "mosquitto.conf").write_text(f"user root\n{text}\nlog_dest file {at.folder}/log\nlog_type all\n")
        at.port = port
        at.start()
        secret = at.folder / "secret"
        secret.write_text("hunter2\n")
        by_certificate = (
            f'[[mqtt]]\nurl = "mqtts://127.0.0.1:{port}"\n'
            f'tls = {{ca = "{folder}/ca.crt", cert = "{folder}/dozor.crt", key = "{folder}/dozor.key"}}\n'
        )
        by_password = f'[[mqtt]]\nurl = "mqtt://dozor@127.0.0.1:{plain}"\nclient_id = "p"\npassword_file = "{secret}"\n'
        entry = f'[[mqtt]]\nurl = "mqtts://127.0.0.1:{port}"\n'
        strange = entry + 'client_id = "a"\n'  # an authority that we do not know
        nameless = entry + f'client_id = "b"\ntls = {{ca = "{folder}/ca.crt"}}\n'  # no certificate of our own
        with service(None, text=by_certificate + by_password + strange + nameless) as gateway:
            gateway.start()
            for reason in ("certificate verify failed", "certificate required"):
                until(partial(told, gateway, reason))
            assert gateway.get("/readyz")[0] == 200
            plain_only = f'dozor_mqtt_connected{{broker="127.0.0.1:{plain}"}}'
            until(lambda: gateway.metric(plain_only) == 1)
            until(lambda: gateway.log.read_text().count("mqtt: subscribed") == 2)
            moment = now_ms()
            assert publish_as(IMEI, folder, port, f"telemetry/{IMEI}/teltonika", frame(moment)) == 0
            assert publish_as(IMEI, folder, port, "telemetry/1/teltonika", frame(moment)) == 0x87
            query = "SELECT terminal FROM telemetry"
            until(lambda: gateway.query(query) != [])
            assert gateway.query(query) == [(IMEI,)], "twice told, once stored; nobody writes another's"
            assert gateway.stop() == 0
            assert "hunter2" not in gateway.log.read_text()


def hash_passwords(program: Path, file: Path) -> None:
    """As mosquitto_passwd, which is beside the program or in its package."""
    found = shutil.which("mosquitto_passwd") or next(program.parents[1].glob("usr/bin/mosquitto_passwd"), None)
    if found is None:
        pytest.skip("mosquitto_passwd cannot be had here")
    libraries = ":".join(map(str, program.parents[1].glob("usr/lib/*-linux-gnu")))
    subprocess.run([found, "-U", file], check=True, timeout=60, env={"LD_LIBRARY_PATH": libraries})


def told(gateway: ServiceProcess, reason: str) -> bool:
    """Whether its log gives that as the reason for having no connection."""
    return any("mqtt: no connection" in line and reason in line for line in gateway.log.read_text().splitlines())


def test_check_config_reads_what_serve_would_read(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "t.toml").write_text('[fields]\nts = "t"\nlat = ""\n')
    (tmp_path / "empty").touch()
    (tmp_path / "dozor.toml").write_text(
        '[[mqtt]]\nurl = "mqtts://h"\ntemplate = "t.toml"\npassword_file = "empty"\n'
        f'tls = {{cert = "{folder}/dozor.crt", key = "{folder}/broker.key"}}\n'
    )
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "dozor.toml", {}, whole=True)
    told = str(caught.value).replace(f"{tmp_path}/", "")
    assert "dozor.toml:3: mqtt.template: t.toml:3: fields.lat: is no path" in told
    assert "dozor.toml:4: mqtt.password_file: secret file empty is empty" in told
    assert "dozor.toml:5: mqtt.tls: cert " in told
    assert "do not belong together" in told
