"""The documentation's examples and tables against the code."""

import argparse
import json
import re
import shlex
from pathlib import Path

import pytest

from gateway.commands import clock
from ticketing.working_time.calendars import COUNTRIES

DOCS = Path(__file__).parents[3] / "docs"
CLOCKS = (DOCS / "clocks.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^\| `(--policy .*)` \| (\S+) \|$", CLOCKS, re.MULTILINE)


def ask(capsys, options):
    parser = argparse.ArgumentParser()
    clock.add_arguments(parser)
    assert clock.run(parser.parse_args(options)) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(("options", "due"), EXAMPLES)
def test_example(capsys, options, due):
    assert json.loads(ask(capsys, [*shlex.split(options), "--json"]))["due"] == due


def test_the_first_example_is_printed_as_shown(capsys):
    block = re.search(r"    dozor clock (--policy .*)\n\n((?:    .*\n|\n)+)", CLOCKS)
    shown = "\n".join(line[4:] for line in block[2].rstrip("\n").split("\n"))
    assert ask(capsys, shlex.split(block[1])).rstrip("\n") == shown


def test_decreed_years_are_those_of_the_code():
    text = (DOCS / "calendars.md").read_text(encoding="utf-8")
    for name, table in COUNTRIES.items():
        years = f"{table.first_year} to {table.last_decreed_year}"
        assert re.search(
            rf"^\| {name} \| {table.zone}.*\| {years} \| {'yes' if table.short_days else 'no'} \|$", text, re.M
        )
