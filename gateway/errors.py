"""Errors of the gateway.

    GatewayError
    ├── InUseError          another service holds the data directory
    ├── EmbeddedStoreError  the embedded PostgreSQL cannot be made, started or reached
    ├── BackupError         a back-up cannot be written, read or put in place
    ├── BacktestError       a trace, a table or a period that a backtest was given cannot be used
    ├── CalibrationError    a calibration table cannot be kept
    └── SchemaError         the store's schema is newer than this version, or a migration failed

Each message says what is wrong and what to do about it.
"""


class GatewayError(Exception):
    """Base of this package's errors; the command line prints it and exits with 2."""


class InUseError(GatewayError):
    """Another service holds the data directory."""


class EmbeddedStoreError(GatewayError):
    """The embedded PostgreSQL cannot be made, started or reached."""


class BackupError(GatewayError):
    """A back-up cannot be written, read or put in place."""


class BacktestError(GatewayError):
    """A trace, a table or a period that a backtest was given cannot be used."""


class CalibrationError(GatewayError):
    """A calibration table cannot be kept."""


class SchemaError(GatewayError):
    """The store's schema does not fit this version."""
