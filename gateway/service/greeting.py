"""What whoever started the service wants to know first: where the desk is, and how to get in."""

from __future__ import annotations

import structlog
from psycopg import Error
from psycopg_pool import PoolTimeout

from gateway.configuration.values import Address
from gateway.service.app import Service
from ticketing.people.users import Users

_log = structlog.get_logger()
_ALL = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # no address to go to


async def greet(service: Service) -> None:
    """Log it; that nobody has an account is a warning with its remedy."""
    bound = service.desk_server.address
    url = service.settings.desk.url or f"http://{Address(_ALL.get(bound.host, bound.host), bound.port)}"
    _log.info("the desk is open", url=url)
    users = Users(service.desk_pool)
    try:
        if not await users.anybody():
            _log.warning("nobody can log in to the desk yet", remedy="dozor user add NAME --role admin")
    except (Error, PoolTimeout) as error:
        _log.warning("accounts not looked at", error=str(error).strip())
    finally:
        users.close()
