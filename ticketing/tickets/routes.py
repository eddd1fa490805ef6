"""The rows of tickets' own routes; actions and lists stand in the desk."""

from __future__ import annotations

from ticketing.core.paging import Page
from ticketing.kit.routes import Row
from ticketing.model.states import Action
from ticketing.model.tickets import Secret, Ticket
from ticketing.people.scope import Kind
from ticketing.tickets import api, new_page, outage_api, outage_pages
from ticketing.tickets.bodies import Entrusted
from ticketing.tickets.entrusted import Opened
from ticketing.tickets.intake import NewTicket
from ticketing.tickets.outage_api import ChangedOutage, NewOutage, Outage
from ticketing.tickets.repairs import Repairs

TAG = "Tickets"

ROUTES = (
    Row(
        "POST", "/api/tickets", "tickets.open", api.open_one,
        "Open a ticket; 200 and the open one where the vehicle's silence is known already", TAG, body=NewTicket,
        answer=Ticket, status=201, also=(200,),
    ),
    Row("GET", "/tickets/new", "tickets.open", new_page.show),
    Row("POST", "/tickets/new", "tickets.open", new_page.add),
    Row("GET", "/tickets/{number}/attachments/{id}", "tickets", api.attachment, "A file of a message", TAG),
    Row("GET", "/api/tickets/{number}/attachments/{id}", "tickets", api.attachment, "A file of a message", TAG,
        kind=Kind.TICKET),
    Row("GET", "/api/tickets/{number}/secrets", "secrets", api.secrets,
        "Access data that the client entrusted, without the data", TAG, answer=Page[Secret]),
    Row("POST", "/api/tickets/{number}/secrets", str(Action.ENTRUST), api.entrust,
        "Entrust access data: sealed, erased at their instant or with the ticket", TAG, body=Entrusted, answer=Secret,
        status=201),
    Row("GET", "/api/tickets/{number}/secrets/{id}", "secrets", api.secret,
        "Read access data; the reading is in the journal", TAG, answer=Opened),
    Row("POST", "/tickets/{number}/secrets/{id}", "secrets", api.secret_shown, "Show access data"),
    Row("GET", "/api/reports/repairs", "reports", api.repaired,
        "How long repairs took, from the opening to the first fix: by class, zone and client", TAG, answer=Repairs,
        filters=(("organisation", "of this client: its id"),
                 ("from", "ISO 8601 with an offset; default 90 days before `to`"),
                 ("to", "its end; default now; two years at most"))),
    Row("GET", "/api/outages", "outages", outage_api.listed, "Times without service", TAG, answer=Page[Outage]),
    Row("GET", "/api/outages/{id}", "outages", outage_api.one, "One time without service", TAG, answer=Outage),
    Row("POST", "/api/outages", "outages.write", outage_api.declare, "Declare that service is away", TAG,
        body=NewOutage, answer=Outage, status=201),
    Row("PATCH", "/api/outages/{id}", "outages.write", outage_api.change, "Say when service is expected back", TAG,
        body=ChangedOutage, answer=Outage),
    Row("POST", "/api/outages/{id}/end", "outages.write", outage_api.finish, "Service is back", TAG, answer=Outage),
    Row("GET", "/outages", "outages", outage_pages.show),
    Row("POST", "/outages", "outages.write", outage_pages.declare),
    Row("POST", "/outages/{id}", "outages.write", outage_pages.change),
    Row("POST", "/outages/{id}/end", "outages.write", outage_pages.finish),
)  # fmt: skip
