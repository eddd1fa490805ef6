"""Errors of this package.

    ProtocolError
    └── UnknownProtocolError   no protocol of that name
    UnspeakableError (ValueError)   a record that is to be passed on, and that a protocol cannot tell

Damage on the wire is never an exception: it is a `Malformed` event or a `Quarantined` frame.
"""


class ProtocolError(Exception):
    """Base of this package's errors."""


class UnknownProtocolError(ProtocolError):
    """No protocol of that name."""


class UnspeakableError(ValueError):
    """The protocol cannot tell this record at all."""
