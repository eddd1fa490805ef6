"""Worked packets of the template. A real protocol's come from its manual, and are read with a reader of others."""

from __future__ import annotations

from tests.protocols.vectors import Vector

MANUAL = "Template, exchange protocol"
LOGIN = bytes.fromhex("5450010f38363030303030303030303030313108af")
ONE = bytes.fromhex("54500201803bb16ab07a3603288ca401dc003d12010b2e3601772c")
TWO = bytes.fromhex("54500202803bb16ab07a3603288ca401dc003d12010b2e36019e3bb16ab07a3603288ca401dc00001201002e36026fec")
VECTORS = [
    Vector("login", source=f"{MANUAL}, login", wire=LOGIN),
    Vector("a record", source=f"{MANUAL}, data", wire=ONE),
    Vector("two records, the second without a fix, out of the black box", source=f"{MANUAL}, data", wire=TWO),
]
REFUSALS = {"length": LOGIN + b"TP\x02\x00"}
