"""`dozor version`."""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
from pathlib import Path

from gateway import VERSION


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("--json", action="store_true", help="as one JSON object")


def commit() -> str:
    """The commit this runs from, in a checkout; otherwise empty."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return ""
    asked = subprocess.run(
        ["git", "-C", str(here), "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False
    )
    return asked.stdout.strip()


def run(args: argparse.Namespace) -> int:
    """Print it."""
    told = {"version": VERSION, "commit": commit(), "python": platform.python_version()}
    print(json.dumps(told) if args.json else f"dozor {told['version']} {told['commit']} python {told['python']}")
    return 0
