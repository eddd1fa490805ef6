"""The rows of tickets' own routes; actions and lists stand in the desk."""

from __future__ import annotations

from ticketing.core.paging import Page
from ticketing.kit.routes import Row
from ticketing.model.tickets import Ticket
from ticketing.people.scope import Kind
from ticketing.tickets import api
from ticketing.tickets.intake import NewTicket

TAG = "Tickets"

ROUTES = (
    Row(
        "POST", "/api/tickets", "tickets.open", api.open_one,
        "Open a ticket; 200 and the open one where the vehicle's silence is known already", TAG, body=NewTicket,
        answer=Ticket, status=201,
    ),
    Row("GET", "/tickets/{number}/attachments/{id}", "tickets", api.attachment, "A file of a message", TAG),
    Row("GET", "/api/tickets/{number}/attachments/{id}", "tickets", api.attachment, "A file of a message", TAG,
        kind=Kind.TICKET),
    Row("GET", "/api/outages", "incidents", api.outages, "Times without service", TAG, answer=Page[api.Outage]),
)  # fmt: skip
