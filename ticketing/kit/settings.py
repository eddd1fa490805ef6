"""What the composition root tells the desk."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, tzinfo
from pathlib import Path

STATIC = Path(__file__).parent / "static"


@dataclass(frozen=True, slots=True)
class DeskSettings:
    """`url` is the public address (https makes cookies Secure), `tiles` the URL template of a map tile server.

    `zone` is the one time zone instants are shown in, deadlines also in `policy_zone` where it differs; the API always
    says UTC.
    """

    url: str = ""
    tiles: str = ""
    version: str = ""
    zone: tzinfo = UTC
    policy_zone: tzinfo | None = None
    refresh: int = 10  # seconds between looks at the queue by an open page
    live: int = 3  # seconds between looks at one terminal

    @property
    def https(self) -> bool:
        """Whether people reach the desk through TLS."""
        return self.url.lower().startswith("https://")
