"""docs/simulator.md says what the code does."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import msgspec

from gateway.commands import simulate
from gateway.service.demo import DEFAULTS
from gateway.simulator.scenario import Scenario, parse_scenario

TEXT = (Path(__file__).parents[3] / "docs" / "simulator.md").read_text(encoding="utf-8")


def test_the_scenario_shown_is_the_default_but_for_its_examples() -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    shown = parse_scenario(block)
    assert msgspec.structs.replace(shown, targets={}, fault=[]) == Scenario()
    for name in Scenario.__struct_fields__:
        assert re.search(rf"^\[?\[?{name}\b", block, re.MULTILINE), name


def test_all_options_are_described() -> None:
    parser = argparse.ArgumentParser()
    simulate.add_arguments(parser)
    options = {name for action in parser._actions for name in action.option_strings if name.startswith("--")}
    assert {name for name in options - {"--help", "--scenario"} if f"`{name}" not in TEXT and name not in TEXT} == set()


def test_the_demo_s_own_defaults_are_told() -> None:
    for key, word in (("floor", "8s"), ("ceiling", "5m"), ("hold", "3s"), ("recovery", "15s")):
        assert f'`{key} = "{word}"`' in TEXT
        (value,) = [v for k, v in DEFAULTS.items() if k.endswith(f".{key}")]
        assert value in (word, float(word[:-1]))
