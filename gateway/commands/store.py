"""`dozor dsn` and `dozor migrate`; and the store for commands that need it."""

from __future__ import annotations

import argparse

from gateway.commands.common import load_settings, migrated, with_pool
from gateway.store.embedded import EmbeddedServer

PATIENCE = 5.0  # s for services that are being stopped to end

__all__ = ["dsn", "migrate_store", "with_pool"]


def dsn(args: argparse.Namespace) -> int:
    """One line that psql accepts while the service runs."""
    settings = load_settings(args)
    print(settings.store.dsn or EmbeddedServer(settings.data_dir).dsn)
    return 0


def migrate_store(args: argparse.Namespace) -> int:
    """Bring the schema up to date; says what was applied."""
    applied = migrated(load_settings(args), patience=PATIENCE)
    for name in applied:
        print(f"applied {name}")
    print("the schema is up to date")
    return 0
