"""Errors of this package.

    ProtocolError
    └── UnknownProtocolError   no protocol of that name

Damage on the wire is never an exception: it is a `Malformed` event or a `Quarantined` frame.
"""


class ProtocolError(Exception):
    """Base of this package's errors."""


class UnknownProtocolError(ProtocolError):
    """No protocol of that name."""
