"""What the documents point at is there."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
LINK = re.compile(r"!?\[[^\]]*\]\(<?([^)>\s]+)>?(?:\s+\"[^\"]*\")?\)")
FENCE = re.compile(r"^(```|~~~).*?^\1|<!--.*?-->", re.MULTILINE | re.DOTALL)  # and comments


def documents() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    names = listed.stdout.splitlines() or [  # unpacked without its history
        str(path.relative_to(ROOT))
        for path in ROOT.rglob("*.md")
        if not path.relative_to(ROOT).parts[0].startswith(".")
    ]
    return [ROOT / name for name in names if (ROOT / name).exists()]


def anchors(document: Path) -> set[str]:
    """Anchors of the headings, as forges make them."""
    prose = FENCE.sub("", document.read_text(encoding="utf-8"))
    headings = re.findall(r"^#{1,6}\s+(.*?)\s*#*$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    prose = FENCE.sub("", document.read_text(encoding="utf-8"))
    broken = []
    for target in LINK.findall(prose):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (document.parent / path).resolve() if path else document
        if (
            not found.is_relative_to(ROOT)
            or not found.exists()
            or (anchor and found.suffix == ".md" and anchor not in anchors(found))
        ):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("folder", ["gateway", "protocols", "detectors", "ticketing", "bench", "tests", "deploy"])
def test_each_folder_says_what_it_is(folder: str) -> None:
    text = (ROOT / folder / "README.md").read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert f"({folder}/README.md)" in (ROOT / "README.md").read_text(encoding="utf-8") or folder in text


def test_commands_of_the_readme_are_targets_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    for document in ("README.md", "CONTRIBUTING.md", "docs/operations.md"):
        text = (ROOT / document).read_text(encoding="utf-8")
        named = set(re.findall(r"(?:^|`|&& )make ([a-z]+)", text, re.MULTILINE))
        assert named <= targets, document
