"""`dozor simulate` from the outside."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.commands import demo as demo_command
from gateway.commands import simulate as simulate_command
from gateway.service.demo import demo_scenario, demo_settings
from gateway.simulator.fleet import make_fleet
from protocols.registry import PROTOCOLS, served, terminals
from tests.gateway.simulator.gateway_double import GatewayDouble

DOZOR = str(Path(sys.executable).with_name("dozor"))


def simulate(double: GatewayDouble, *arguments: str, signal_after: float = 0.0) -> tuple[int, dict[str, Any]]:
    """Run the command against `double`; HERE in the arguments is its Omnicomm address."""

    async def go() -> tuple[int, dict[str, Any]]:
        address = await double.listen("omnicomm")
        process = await asyncio.create_subprocess_exec(
            DOZOR, "simulate", *(argument.replace("HERE", address) for argument in arguments), "--json",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        if signal_after:
            while not double.rows:
                assert process.returncode is None
                await asyncio.sleep(0.05)
            await asyncio.sleep(signal_after)
            process.send_signal(signal.SIGTERM)
        out, _ = await asyncio.wait_for(process.communicate(), 30)
        double.close()
        await asyncio.sleep(0.05)
        assert process.returncode is not None
        return process.returncode, json.loads(out.decode().splitlines()[-1])

    return asyncio.run(go())


COMMON = ("--target", "HERE", "--protocol", "omnicomm", "--terminals", "8", "--interval", "0.5", "--seed", "3")


def test_the_summary_says_what_was_sent_and_acknowledged(tmp_path: Path) -> None:
    double = GatewayDouble()
    truth = tmp_path / "truth.jsonl"
    code, told = simulate(double, *COMMON, "--duration", "2", "--truth", str(truth))
    assert code == 0
    assert (told["terminals"], told["logins"], told["violations"], told["seed"]) == (8, 8, 0, 3)
    assert told["records_acked"] == told["records_sent"] == len(double.distinct_rows()) > 16
    written = [json.loads(line) for line in truth.read_text().splitlines()]
    acked = {(row["terminal"], row["time"]) for row in written if row["acked"]}
    assert acked == {(row["terminal"], row["time"]) for row in double.rows}


def test_a_signal_ends_it_with_its_summary() -> None:
    double = GatewayDouble()
    code, told = simulate(double, *COMMON, signal_after=0.5)
    assert code == 0
    assert told["records_acked"] == told["records_sent"] == len(double.distinct_rows()) > 0


def test_a_server_that_acks_wrongly_is_told_by_the_exit_code() -> None:
    double = GatewayDouble(misbehave=lambda name, count, ack: ack + ack)
    code, told = simulate(double, *COMMON, "--duration", "1.5")
    assert code == 1
    assert told["violations"] > 0
    assert "not in flight" in told["violation_examples"][0]["what"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "--protocol"),
        (("--protocol", "omnicomm"), "--terminals"),
        (("--protocol", "omnicomm", "--terminals", "3"), "--target"),
        (("--protocol", "omnicomm", "--terminals", "3", "--target", "nowhere"), "HOST:PORT"),
        (("--protocol", "omnicomm", "--terminals", "3", "--target", "127.0.0.1:1", "--udp"), "--udp"),
        (("--scenario", "none.toml"), "none.toml"),
        # It would make up records for ever, and hear no signal.
        (("--protocol", "omnicomm", "--terminals", "3", "--target", "127.0.0.1:1", "--interval", "1e-9"), "--interval"),
    ],
)
def test_wrong_use_is_told(arguments: tuple[str, ...], told: str) -> None:
    ended = subprocess.run([DOZOR, "simulate", *arguments], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert told in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_mixed_fleet_is_of_all_protocols_at_one_target() -> None:
    parser = argparse.ArgumentParser()
    simulate_command.add_arguments(parser)
    words = ["--target", "127.0.0.1:5000", "--terminals", "60", "--protocol"]
    scenario, targets = simulate_command._scenario(parser.parse_args([*words, "mixed"]))
    assert {spec.protocol for spec in make_fleet(scenario)} == set(PROTOCOLS) == set(targets)
    assert set(targets.values()) == {"127.0.0.1:5000"}
    scenario, _ = simulate_command._scenario(parser.parse_args([*words, "mixed", "--udp"]))
    assert set(scenario.mix) == {name for name in PROTOCOLS if "udp" in terminals(name)}


def test_what_a_demo_speaks(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    demo_command.add_arguments(parser)
    args = parser.parse_args(["--protocols", "all"])
    settings = demo_settings(None, tmp_path, None, args.protocols)
    assert [entry.protocol for entry in settings.listen] == list(PROTOCOLS)
    assert set(demo_scenario(settings, 200, None).mix) == set(PROTOCOLS)
    assert parser.parse_args(["--protocols", "wialon-ips, teltonika"]).protocols == ("wialon-ips", "teltonika")
    assert [entry.protocol for entry in demo_settings(None, tmp_path).listen] == list(served())
    with pytest.raises(SystemExit):
        parser.parse_args(["--protocols", "smtp"])
