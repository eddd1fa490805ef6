"""What the service reads besides the configuration itself: the files it names."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

from gateway.configuration.catalogue import CatalogueError, read_catalogue
from gateway.configuration.template import TemplateFileError, read_template
from ticketing.channels.notifier import problems as url_problems
from ticketing.channels.secrets import read_secret
from ticketing.core.errors import DeliveryError

_SECRETS = ("password_file", "secret_file")


def unreadable(found: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Where, what and remedy of every file that the service could not use; `found` is values by where they stand.

    Certificates and policies are not among them: reading their keys reads them.
    """
    for where, path in list(found.items()):
        name = where.rpartition(".")[2]
        if path is None or name not in ("catalogue", "template", "url_file", *_SECRETS):
            continue
        try:
            if name == "catalogue":
                read_catalogue(path)
            elif name == "template":
                read_template(path)
            elif name == "url_file":
                yield from ((where, problem, "write one address of apprise a line") for problem in url_problems(path))
            else:
                asyncio.run(read_secret(path))
        except TemplateFileError as error:
            yield where, str(error), ""
        except CatalogueError as error:
            yield from ((where, problem, "") for problem in error.problems)
        except DeliveryError as error:
            yield where, str(error), "put the secret into it, readable for the service"
