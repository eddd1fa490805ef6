"""Write the keys of docs/configuration.md from their declarations: `python -m tools.configuration_doc`.

What is generated is the example of all defaults and the rows of the tables; the prose around them is the page's own.
"""

from __future__ import annotations

import json
import re
from itertools import groupby
from pathlib import Path

from gateway.configuration.keys import REQUIRED, Key
from gateway.configuration.reading import KEYS, REPEATED
from protocols.auto import AUTO
from protocols.auto import PORT as AUTO_PORT
from protocols.registry import served

PAGE = Path(__file__).parent.parent / "docs" / "configuration.md"

_EXAMPLE = re.compile(r"(?<=^```toml\n).*?(?=^```)", re.MULTILINE | re.DOTALL)
_TABLE = re.compile(r"(?<=^\| key \| meaning \|\n\|---\|---\|\n)\| `([a-z0-9_.]+)` \|(?:.*\n)(?:\|.*\n)*", re.MULTILINE)


def page() -> str:
    """The whole page, with what the code says of the keys."""
    text = PAGE.read_text(encoding="utf-8")
    text = _EXAMPLE.sub(lambda _: example(), text, count=1)
    return _TABLE.sub(lambda found: _rows(_group(found[1])), text)


def example() -> str:
    """Every key with its default, as a file."""
    lines = ['data_dir = "/var/lib/dozor"   # as root; otherwise ~/.local/share/dozor']
    for table, names in groupby((key for key in KEYS if "." in key), key=_group):
        if table in REPEATED:
            continue
        lines += ["", f"[{table}]"]
        for name, inside in groupby(names, key=lambda key: key.removeprefix(f"{table}.").split(".")[0]):
            keys = list(inside)
            if keys == [f"{table}.{name}"]:
                lines.append(f"{name} = {_toml(KEYS[keys[0]].default)}")
            else:
                values = (f"{key.rsplit('.')[-1]} = {_toml(KEYS[key].default)}" for key in keys)
                lines.append(f"{name} = {{{', '.join(values)}}}")
    lines += ["", "# What is served when no [[listen]] stands in the file:"]
    for name, port in {**served(), AUTO: AUTO_PORT}.items():
        lines += ["[[listen]]", f'protocol = "{name}"', f'address = "0.0.0.0:{port}"', ""]
    return "\n".join(lines)


def _group(key: str) -> str:
    """The heading a key stands under: a table within one that has keys of its own, as `store.keep`, has none."""
    table = key.rpartition(".")[0]
    above = table.rpartition(".")[0]
    return above if any(other.rpartition(".")[0] == above for other in KEYS if above) else table


def _rows(group: str) -> str:
    return "".join(_row(key, entry) for key, entry in KEYS.items() if _group(key) == group)


def _row(key: str, entry: Key) -> str:
    needed = " (needed)" if entry.default is REQUIRED else ""
    return f"| `{key}` | {entry.meaning.replace('|', chr(92) + '|')}{needed} |\n"


def _toml(default: object) -> str:
    return json.dumps(list(default) if isinstance(default, tuple) else default)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
