"""The service takes mail, from a mailbox and over LMTP, and makes tickets of it."""

from __future__ import annotations

import smtplib
from pathlib import Path

import pytest

from tests.gateway.broker.outside import until
from tests.harness import free_port, running_service
from tests.ticketing.mail.imap_server import PASSWORD, running
from tests.ticketing.mail.world import mail


@pytest.mark.slow
def test_mail_comes_in_by_both_ways(dovecot: Path, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text(PASSWORD)
    port = free_port()
    with running(dovecot) as server:
        server.deliver("desk", mail("By IMAP", subject="By IMAP"))
        with running_service(
            DOZOR_MAILBOX__HOST="127.0.0.1",
            DOZOR_MAILBOX__PORT=str(server.port),
            DOZOR_MAILBOX__TLS="none",
            DOZOR_MAILBOX__USER="desk",
            DOZOR_MAILBOX__PASSWORD_FILE=str(password),
            DOZOR_MAILBOX__POLL="200ms",
            DOZOR_LMTP__ADDRESS=f"127.0.0.1:{port}",
        ) as service:
            with smtplib.LMTP("127.0.0.1", port) as link:
                assert (
                    link.sendmail("ann@acme.example", ["support@desk.example"], mail("By LMTP", subject="By LMTP"))
                    == {}
                )
            until(lambda: service.metric('dozor_mail_kept_total{source="imap"}') == 1)
            assert service.metric('dozor_mail_kept_total{source="lmtp"}') == 1
            assert service.metric("dozor_mailbox_up") == 1
            until(lambda: service.metric('dozor_mail_in_total{verdict="opened"}') == 2)
            opened = service.query(
                "SELECT t.channel, t.verified, t.sender FROM inbox i JOIN ticket t ON t.id = i.ticket"
            )
            assert opened == [("mail", False, "ann@acme.example")] * 2
