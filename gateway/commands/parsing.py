"""Parsers that guess what was meant, and show how a command is used."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Iterable
from typing import NoReturn

_CHOICE = re.compile(r"invalid choice: '(.*?)' \(choose from (.*)\)", re.DOTALL)


class Parser(argparse.ArgumentParser):
    """Says what a mistyped word or option is near to; `examples` stand below its help."""

    def __init__(self, *args: object, examples: Iterable[str] = (), **options: object) -> None:
        super().__init__(*args, formatter_class=argparse.RawDescriptionHelpFormatter, **options)  # type: ignore[arg-type,misc]
        lines = [f"  {line}" for line in examples]
        if lines:
            self.epilog = "\n".join(["examples:", *lines])

    def error(self, message: str) -> NoReturn:
        """Exit 2 with the usage, what is wrong, and a guess."""
        if found := _CHOICE.search(message):
            known = [word.strip(" '\"") for word in found[2].split(",")]
            message = message[: found.start()] + f"there is no {found[1]!r}{_guess(found[1], known)}"
        super().error(message)

    def unknown(self, words: list[str]) -> NoReturn:
        """What no parser took."""
        word = words[0].partition("=")[0]
        options = [option for parser in self.family() for option in parser._option_string_actions if word[:1] == "-"]
        self.error(f"unrecognised: {' '.join(words)}{_guess(word, options)}")

    def command(self, name: str | None) -> Parser:
        """The parser of a command of this one; this one where there is none."""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction) and name in action.choices:
                found: Parser = action.choices[name]
                return found
        return self

    def family(self) -> list[argparse.ArgumentParser]:
        """This parser and those of its subcommands."""
        found: list[argparse.ArgumentParser] = [self]
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                found += action.choices.values()
        return found


def _guess(word: str, known: Iterable[str]) -> str:
    words = sorted(set(known))
    if close := difflib.get_close_matches(word, words, 1, 0.5):
        return f": did you mean {close[0]!r}?"
    return f": there are {', '.join(words)}" if words and not word.startswith("-") else ": see --help"
