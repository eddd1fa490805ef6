"""The rows of people's routes."""

from __future__ import annotations

from ticketing.core.paging import Page
from ticketing.directory import account, api, pages
from ticketing.kit.routes import Row
from ticketing.people.accounts import AccountDetail, ChangedUser, NewUser
from ticketing.people.contacts import ChangedContact, Contact, NewContact
from ticketing.people.organisations import ChangedOrganisation, NewOrganisation, Organisation
from ticketing.people.scope import Kind
from ticketing.people.vehicles import ChangedVehicle, NewVehicle, Vehicle

TAG = "People"
SEARCH = ("search", "part of what it is called")
ACTIVE = ("active", "`yes` or `no`: only those; without it both")
OF = ("organisation", "of the organisation of this `id`")
TERMINAL = ("terminal", "with the terminal of this identity")
PLATE = ("plate", "with this number plate, however it is written")
ROLE = ("role", "with this role")

API = (
    Row(
        "GET", "/api/organisations", "organisations", api.organisations, "Organisations", TAG,
        answer=Page[Organisation], kind=Kind.ORGANISATION, paged=True, filters=(SEARCH, ACTIVE),
    ),
    Row(
        "GET", "/api/organisations/{id}", "organisations", api.organisation, "One organisation", TAG,
        answer=Organisation, kind=Kind.ORGANISATION,
    ),
    Row(
        "POST", "/api/organisations", "organisations.write", api.add_organisation, "Add an organisation", TAG,
        body=NewOrganisation, answer=Organisation, kind=Kind.ORGANISATION, status=201,
    ),
    Row(
        "PATCH", "/api/organisations/{id}", "organisations.write", api.change_organisation, "Change an organisation",
        TAG, body=ChangedOrganisation, answer=Organisation, kind=Kind.ORGANISATION,
    ),
    Row(
        "GET", "/api/contacts", "contacts", api.contacts, "Contacts", TAG,
        answer=Page[Contact], kind=Kind.CONTACT, paged=True, filters=(OF, SEARCH, ACTIVE),
    ),
    Row("GET", "/api/contacts/{id}", "contacts", api.contact, "One contact", TAG, answer=Contact, kind=Kind.CONTACT),
    Row(
        "POST", "/api/contacts", "contacts.write", api.add_contact, "Add a contact", TAG,
        body=NewContact, answer=Contact, kind=Kind.CONTACT, status=201,
    ),
    Row(
        "PATCH", "/api/contacts/{id}", "contacts.write", api.change_contact, "Change a contact", TAG,
        body=ChangedContact, answer=Contact, kind=Kind.CONTACT,
    ),
    Row(
        "GET", "/api/vehicles", "vehicles", api.vehicles, "Vehicles", TAG,
        answer=Page[Vehicle], kind=Kind.VEHICLE, paged=True, filters=(OF, TERMINAL, PLATE, SEARCH, ACTIVE),
    ),
    Row("GET", "/api/vehicles/{id}", "vehicles", api.vehicle, "One vehicle", TAG, answer=Vehicle, kind=Kind.VEHICLE),
    Row(
        "POST", "/api/vehicles", "vehicles.write", api.add_vehicle, "Add a vehicle", TAG,
        body=NewVehicle, answer=Vehicle, kind=Kind.VEHICLE, status=201,
    ),
    Row(
        "PATCH", "/api/vehicles/{id}", "vehicles.write", api.change_vehicle, "Change a vehicle", TAG,
        body=ChangedVehicle, answer=Vehicle, kind=Kind.VEHICLE,
    ),
    Row(
        "GET", "/api/users", "users", api.users, "Accounts", TAG,
        answer=Page[AccountDetail], kind=Kind.USER, paged=True, filters=(ROLE, SEARCH, ACTIVE),
    ),
    Row("GET", "/api/users/{name}", "users", api.user, "One account", TAG, answer=AccountDetail, kind=Kind.USER),
    Row(
        "POST", "/api/users", "users.write", api.add_user, "Add an account", TAG,
        body=NewUser, answer=AccountDetail, kind=Kind.USER, status=201,
    ),
    Row(
        "PATCH", "/api/users/{name}", "users.write", api.change_user, "Change an account", TAG,
        body=ChangedUser, answer=AccountDetail, kind=Kind.USER,
    ),
)  # fmt: skip
PAGES = (
    Row("GET", "/account", "account", account.show),
    Row("POST", "/account", "account", account.change),
    Row("POST", "/account/password", "account", account.password),
    Row("POST", "/account/totp", "account", account.totp_on),
    Row("POST", "/account/totp/off", "account", account.totp_off),
    Row("POST", "/account/recovery", "account", account.recovery),
    Row("POST", "/account/tokens", "account", account.add_token),
    Row("POST", "/account/tokens/{id}/revoke", "account", account.revoke),
    Row("GET", "/organisations", "organisations", pages.organisations),
    Row("POST", "/organisations", "organisations.write", pages.add_organisation),
    Row("GET", "/organisations/{id}", "organisations", pages.organisation),
    Row("POST", "/organisations/{id}", "organisations.write", pages.change_organisation),
    Row("POST", "/organisations/{id}/contacts", "contacts.write", pages.add_contact),
    Row("POST", "/organisations/{id}/vehicles", "vehicles.write", pages.add_vehicle),
    Row("GET", "/contacts/{id}", "contacts.write", pages.contact),
    Row("POST", "/contacts/{id}", "contacts.write", pages.change_contact),
    Row("GET", "/vehicles/{id}", "vehicles.write", pages.vehicle),
    Row("POST", "/vehicles/{id}", "vehicles.write", pages.change_vehicle),
    Row("GET", "/settings", "settings", pages.settings),
    Row("POST", "/settings/users", "settings", pages.add_user),
    Row("GET", "/settings/users/{name}", "settings", pages.account),
    Row("POST", "/settings/users/{name}", "settings", pages.change_account),
    Row("POST", "/settings/users/{name}/tokens/{id}/revoke", "settings", pages.revoke),
)
ROUTES = API + PAGES
