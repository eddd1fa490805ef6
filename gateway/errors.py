"""Errors of the gateway.

    GatewayError
    ├── InUseError          another service holds the data directory
    ├── EmbeddedStoreError  the embedded PostgreSQL cannot be made, started or reached
    └── SchemaError         the store's schema is newer than this version, or a migration failed

Each message says what is wrong and what to do about it.
"""


class GatewayError(Exception):
    """Base of this package's errors; the command line prints it and exits with 2."""


class InUseError(GatewayError):
    """Another service holds the data directory."""


class EmbeddedStoreError(GatewayError):
    """The embedded PostgreSQL cannot be made, started or reached."""


class SchemaError(GatewayError):
    """The store's schema does not fit this version."""
