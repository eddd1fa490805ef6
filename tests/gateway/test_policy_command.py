"""`dozor policy` from outside."""

import argparse
import json
from importlib import resources

import pytest

from gateway.commands import policy
from ticketing import policies


def run(capsys, *options):
    parser = argparse.ArgumentParser(prog="dozor policy")
    policy.add_arguments(parser)
    code = policy.run(parser.parse_args(options))
    return code, *capsys.readouterr()


def test_list(capsys):
    code, out, _ = run(capsys, "list")
    assert code == 0
    assert [line.split("@")[0] for line in out.splitlines()] == list(policies.PRESETS)
    _, out, _ = run(capsys, "list", "--json")
    found = json.loads(out)["policies"]
    assert found[2] == {
        "name": "dealer-desk", "version": 1, "title": "Dealer desk", "clocks": ["official-letter", "outage-letter"],
    }  # fmt: skip


@pytest.mark.parametrize("name", policies.PRESETS)
def test_show(capsys, name):
    code, out, _ = run(capsys, "show", name)
    assert code == 0
    assert all(clock in out for clock in policies.get(name).clocks)
    code, out, _ = run(capsys, "show", f"{name}@1", "--json")
    assert code == 0
    assert json.loads(out)["working_time"]["hours"] == "09:00-18:00"


@pytest.mark.parametrize("name", policies.PRESETS)
def test_show_toml_is_a_template_that_loads_back_identically(capsys, tmp_path, name):
    code, out, _ = run(capsys, "show", name, "--toml")
    assert code == 0
    own = tmp_path / "own.toml"
    assert out == (resources.files("ticketing.policies") / f"{name}.toml").read_text(encoding="utf-8")
    own.write_text(out)
    assert policies.load(own).file == policies.get(name).file
    assert run(capsys, "show", f"{name}@1", "--toml")[1] == out
    own.write_text(out.replace(f'name = "{name}"', 'name = "mine"', 1))
    assert run(capsys, "check", str(own)) == (0, f"{own}: good. mine@1, {len(policies.get(name).clocks)} clocks\n", "")


def test_a_template_of_an_unknown_policy(capsys):
    code, out, err = run(capsys, "show", "gold", "--toml")
    assert (code, out) == (2, "")
    assert "unknown policy 'gold'" in err


def test_show_of_an_unknown_policy(capsys):
    code, out, err = run(capsys, "show", "gold")
    assert (code, out) == (2, "")
    assert "unknown policy 'gold'" in err


def test_check(capsys, tmp_path):
    path = tmp_path / "own.toml"
    text = (resources.files("ticketing.policies") / "dealer-desk.toml").read_text()
    path.write_text(text)
    assert run(capsys, "check", str(path)) == (0, f"{path}: good. dealer-desk@1, 2 clocks\n", "")
    path.write_text(text.replace('budget = "3d"', 'budget = "3h"'))
    code, out, err = run(capsys, "check", str(path))
    line = 1 + text[: text.index('budget = "3d"')].count("\n")
    assert (code, out) == (2, "")
    assert err.startswith(f"{path}:{line}: [clock] budget: '3h' has the wrong unit")
    code, out, err = run(capsys, "check", str(tmp_path / "none.toml"))
    assert (code, out) == (2, "")
    assert "cannot read" in err


def test_an_action_is_needed(capsys):
    with pytest.raises(SystemExit) as caught:
        run(capsys)
    assert caught.value.code == 2
