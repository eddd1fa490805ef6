"""What a clock, calendar or policy may complain about.

ClockError
├── ClockInputError    one named field is wrong; carries the remedy
└── PolicyError        a policy file is wrong; carries file and line
"""

from __future__ import annotations


class ClockError(ValueError):
    """Base of everything the clock engine raises for wrong input."""


class ClockInputError(ClockError):
    """A field that cannot be used: `field` names it, the message says what to do instead."""

    def __init__(self, field: str, problem: str, remedy: str) -> None:
        super().__init__(f"{field}: {problem}. {remedy}")
        self.field = field
        self.problem = problem
        self.remedy = remedy


class PolicyError(ClockError):
    """A policy file that cannot be used: file, line (1-based), what is wrong and the remedy."""

    def __init__(self, file: str, line: int, problem: str, remedy: str) -> None:
        super().__init__(f"{file}:{line}: {problem}. {remedy}")
        self.file = file
        self.line = line
        self.problem = problem
        self.remedy = remedy
