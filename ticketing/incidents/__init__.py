"""Findings become incidents, and incidents tickets.

Decided in `rules`, over a view that `looking` reads from the store; carried out in `carrying`.
"""

from ticketing.incidents.carrying import Incidents, OpenIncident, Raised
from ticketing.incidents.opening import Case

__all__ = ["Case", "Incidents", "OpenIncident", "Raised"]
