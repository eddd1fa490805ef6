"""What cannot work of mail in: mailboxes that do not answer, mail that nobody can judge."""

from __future__ import annotations

from collections.abc import Sequence

from ticketing.kit.notices import Notice
from ticketing.kit.rendering import duration
from ticketing.kit.words import _, ngettext
from ticketing.mail import inbox
from ticketing.mail.api import MailDesk, failing


class MailNotices:
    """Looks at the mailboxes and the inbox."""

    def __init__(self, desk: MailDesk) -> None:
        self._desk = desk

    async def __call__(self) -> Sequence[Notice]:
        """What cannot work now."""
        now = self._desk.now()
        found = [
            Notice(
                _("The mailbox %(mailbox)s cannot be read since %(span)s: %(error)s")
                % {
                    "mailbox": one.mailbox,
                    "span": duration((now - (one.failing_since or now)).total_seconds()),
                    "error": one.error or "",
                },
                "/mail",
            )
            for one in await failing(self._desk)
        ]
        stuck = len(await inbox.listed(self._desk.pool, failing=True))
        if stuck:
            text = ngettext("%(n)s mail cannot be judged", "%(n)s mails cannot be judged", stuck) % {"n": stuck}
            found.append(Notice(text, "/mail?verdict=failing"))
        return found
