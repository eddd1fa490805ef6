"""docs/configuration.md names every key, with the default that the code has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.configuration.reading import KEYS, load
from tools.configuration_doc import PAGE, page


def example() -> str:
    found = re.search(r"^```toml\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def test_the_example_is_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "dozor.toml"
    file.write_text(example(), encoding="utf-8")
    documented, built_in = load(file, {}), load(None, {}, implicit=False)
    for name in built_in.__struct_fields__:
        if name not in ("file", "configured", "data_dir"):
            assert getattr(documented, name) == getattr(built_in, name), name
    assert documented.data_dir == Path("/var/lib/dozor")


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m tools.configuration_doc"


@pytest.mark.parametrize("key", KEYS)
def test_every_key_is_in_the_tables(key: str) -> None:
    assert f"| `{key}` | {KEYS[key].meaning}" in PAGE.read_text(encoding="utf-8")


def test_the_tables_invent_no_key() -> None:
    named = set(re.findall(r"^\| `([a-z0-9_.]+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    assert named == set(KEYS)
