"""The template file of a broker's JSON: what `protocols.json_records.template` reads, out of TOML."""

from __future__ import annotations

from pathlib import Path

from gateway.errors import GatewayError
from protocols.json_records.template import Template, TemplateError
from ticketing.core.toml_source import NotTomlError, NotUtf8Error, TomlSource

MAX_BYTES = 256 << 10  # 512 fields take a tenth of it


class TemplateFileError(GatewayError):
    """The file cannot be used; the text says where, what and the remedy."""


def read_template(path: Path) -> Template:
    """Read it.

    Raises
    ------
    TemplateFileError
        If it cannot be read, is no TOML or no template.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise TemplateFileError(f"{path} has more than {MAX_BYTES} bytes: name a template")
        source = TomlSource(data)
    except OSError as error:
        raise TemplateFileError(f"{path}: {error.strerror}: correct its path or rights") from None
    except NotUtf8Error as error:
        raise TemplateFileError(f"{path}:{error.line}: {error.detail}: save the file as UTF-8") from None
    except NotTomlError as error:
        raise TemplateFileError(f"{path}:{error.line}: is not TOML ({error.detail}): correct the line") from None
    try:
        return Template.of(source.content)
    except TemplateError as error:
        raise TemplateFileError(f"{path}:{source.line(error.where)}: {error}") from None
