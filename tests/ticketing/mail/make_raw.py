"""Writes the fixtures of `raw/`: mails in the shapes that programs give them, beside what must come out.

    .venv/bin/python -m tests.ticketing.mail.make_raw

Words and names are invented. What programs do (headers, order of parts, charsets, how they quote) is known of each.
``{{work.number}}`` and ``{{work.reply}}`` are filled in by the test: a ticket in that state, and a letter of ours.
"""

from __future__ import annotations

import base64
import quopri
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

RAW = Path(__file__).parent / "raw"
DESK = "support@desk.example"
ANN, IVAN, CHEN = "ann@acme.example", "ivan@sever.example", "chen@orient.example"
NAMES = {ANN: "Ann Lee", IVAN: "Иван Петров", CHEN: "陈伟"}
made: dict[str, tuple[bytes, dict[str, Any]]] = {}


def add(name: str, raw: bytes | str, **expected: Any) -> None:
    """A fixture; `expected` becomes its TOML."""
    assert name not in made, name
    made[name] = (raw.encode() if isinstance(raw, str) else raw, expected)


def word(text: str, charset: str = "utf-8", encoding: str = "b") -> str:
    """An encoded word, or the text itself where it is plain."""
    if text.isascii():
        return text
    data = text.encode(charset)
    if encoding == "b":
        return f"=?{charset}?B?{base64.b64encode(data).decode()}?="
    return f"=?{charset}?Q?{''.join(chr(b) if chr(b).isalnum() and b < 128 else f'={b:02X}' for b in data)}?="


def b64(data: bytes) -> str:
    return base64.encodebytes(data).decode().replace("\n", "\r\n").strip()


def qp(data: bytes) -> str:
    return quopri.encodestring(data).decode("latin-1").replace("\n", "\r\n")


def part(kind: str, data: bytes | str, encoding: str = "base64", **headers: str) -> str:
    """A part of a multipart; `data` encoded."""
    raw = data.encode() if isinstance(data, str) else data
    coded = {"base64": b64, "quoted-printable": qp}.get(encoding, lambda d: d.decode("latin-1"))(raw)
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"Content-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n{more}\r\n{coded}\r\n"


def multi(kind: str, *parts: str, boundary: str = "=_b0", preamble: str = "") -> str:
    """Header lines and body of a multipart."""
    body = "".join(f"--{boundary}\r\n{one}" for one in parts)
    return f'Content-Type: {kind}; boundary="{boundary}"\r\n\r\n{preamble}{body}--{boundary}--\r\n'


def letter(lines: list[str], content: str) -> bytes:
    return ("\r\n".join(lines) + "\r\nMIME-Version: 1.0\r\n" + content).encode("utf-8", "surrogateescape")


def html_of(text: str, quoted: str = "") -> str:
    rows = "".join(f"<div>{line or '<br>'}</div>" for line in text.split("\n"))
    return f"<html><head><style>p {{color: red}}</style></head><body>{rows}{quoted}</body></html>"


# -- programs: (sender, subject, text, quoted text or "", header lines) -> bytes ------------------------------------


def _head(sender: str, subject: str, more: list[str], charset: str = "utf-8", encoding: str = "b") -> list[str]:
    return [
        "Received: from mx.client.example (mx.client.example [192.0.2.7])\r\n\tby mail.desk.example with ESMTPS;"
        " Mon, 30 Nov 2026 10:00:05 +0000",
        f"From: {word(NAMES.get(sender, ''), charset, encoding)} <{sender}>",
        f"To: <{DESK}>",
        f"Subject: {word(subject, charset, encoding)}",
        "Date: Mon, 30 Nov 2026 13:00:00 +0300",
        *more,
    ]


def outlook(sender: str, subject: str, text: str, quoted: str, more: list[str]) -> bytes:
    """Outlook with Exchange: its own long ids, Thread-Index, quoted-printable twice, a rule before "
    "the quoted head."""
    below = ""
    if quoted:
        below = (
            f"\n\n________________________________\nFrom: Desk <{DESK}>\nSent: Monday, November 30, 2026 9:55 AM\n"
            f"To: Client\nSubject: {subject}\n\n{quoted}\n"
        )
    page = html_of(text, f'<hr><div id="divRplyFwdMsg"><b>From:</b> Desk<br><b>Sent:</b> Monday<br>{quoted}</div>')
    head = [
        *_head(sender, subject, more, encoding="q"),
        "Thread-Topic: x",
        "Thread-Index: AQHbQwABgk1pQ0mYb0qvT2r9mXw=",
        "Accept-Language: en-US",
        "X-MS-Has-Attach:",
        "X-MS-TNEF-Correlator:",
        "x-ms-exchange-transport-fromentityheader: Hosted",
    ]
    return letter(
        head,
        multi(
            "multipart/alternative",
            part('text/plain; charset="utf-8"', text + below, "quoted-printable"),
            part('text/html; charset="utf-8"', page, "quoted-printable"),
            boundary="_000_PR3P192MB0987A1B2C3D4E5F6PR3P192MB0987EURP_",
        ),
    )


def outlook_ru(sender: str, subject: str, text: str, quoted: str, more: list[str]) -> bytes:
    """Outlook of a Russian Windows: koi8-r, its quoted head in Russian."""
    below = ""
    if quoted:
        below = (
            f"\r\n\r\n-----Original Message-----\r\nFrom: Desk [mailto:{DESK}]\r\nSent: Monday\r\nTo: x\r\n\r\n{quoted}"
            if text.isascii()
            else (
                f"\r\n\r\nОт: Desk <{DESK}> \r\nОтправлено: 30 ноября 2026 г. 12:55\r\nКому: x\r\n"
                f"Тема: y\r\n\r\n{quoted}"
            )
        )
    head = [*_head(sender, subject, more, "koi8-r"), "X-Mailer: Microsoft Office Outlook 12.0", "Content-Language: ru"]
    body = part('text/plain;\r\n\tcharset="koi8-r"', (text + below).encode("koi8-r", "replace"), "base64")
    return letter(head, body)


def gmail(sender: str, subject: str, text: str, quoted: str, more: list[str]) -> bytes:
    """Gmail: alternative, the attribution wrapped, quote marks in plain text and a gmail_quote in HTML."""
    attribution = {
        IVAN: f"пн, 30 нояб. 2026 г. в 12:55, Desk <{DESK}>:",
        CHEN: f"Desk <{DESK}> 于2026年11月30日周一 17:55写道：",
    }.get(sender, f"On Mon, Nov 30, 2026 at 9:55 AM The Service Desk of Example\n<{DESK}> wrote:")
    below = "\n\n" + attribution + "\n\n" + "\n".join(f"> {one}" for one in quoted.split("\n")) if quoted else ""
    page = f'<div dir="ltr">{text}</div>' + (
        f'<div class="gmail_quote"><blockquote>{quoted}</blockquote></div>' if quoted else ""
    )
    return letter(
        [*_head(sender, subject, more), "X-Gm-Message-State: AOJu0YxYz"],
        multi(
            "multipart/alternative",
            part('text/plain; charset="UTF-8"', text + below, "base64"),
            part('text/html; charset="UTF-8"', page, "quoted-printable"),
            boundary="000000000000a1b2c30624f1d2e3",
        ),
    )


def iphone(sender: str, subject: str, text: str, quoted: str, more: list[str]) -> bytes:
    """Apple Mail on a phone: plain text, a signature line, quoted with marks."""
    sent, wrote = {
        IVAN: ("Отправлено с iPhone", f"30 нояб. 2026 г., в 12:55, Desk <{DESK}> написал(а):"),
        CHEN: ("发自我的iPhone", f"在 2026年11月30日，下午5:55，Desk <{DESK}> 写道："),
    }.get(sender, ("Sent from my iPhone", f"On Nov 30, 2026, at 9:55 AM, Desk <{DESK}> wrote:"))
    below = f"\n\n> {wrote}\n> \n> {quoted}" if quoted else ""
    body = part("text/plain; charset=utf-8", f"{text}\n\n{sent}{below}", "quoted-printable")
    return letter([*_head(sender, subject, more, encoding="q"), "X-Mailer: iPhone Mail (23B85)"], body)


def yandex(sender: str, subject: str, text: str, quoted: str, more: list[str]) -> bytes:
    """Yandex on the web: HTML alone, in base64."""
    below = f'<div>30.11.2026, 12:55, "Desk" &lt;{DESK}&gt;:</div><blockquote>{quoted}</blockquote>' if quoted else ""
    page = "".join(f"<div>{line or '&nbsp;'}</div>" for line in text.split("\n")) + below
    head = [*_head(sender, subject, more), "X-Mailer: Yamail [ http://yandex.example ] 5.0"]
    return letter(head, part("text/html; charset=utf-8", page, "base64"))


def mailru(sender: str, subject: str, text: str, quoted: str, more: list[str]) -> bytes:
    """Mail.ru on the web: both forms in base64, quoted without marks in plain text."""
    below = f"\n\n\nПонедельник, 30 ноября 2026, 12:55 +03:00 от Desk <{DESK}>:\n \n{quoted}\n" if quoted else ""
    page = html_of(text, f"<blockquote>Понедельник, 30 ноября 2026 от Desk: {quoted}</blockquote>" if quoted else "")
    return letter(
        [*_head(sender, subject, more), "X-Mailer: Mail.Ru Mailer 1.0", "X-Priority: 3 (Normal)"],
        multi(
            "multipart/alternative",
            part("text/plain; charset=utf-8", text + below, "base64"),
            part("text/html; charset=utf-8", page, "base64"),
            boundary="--ALT--1a2B3c4D1764497100",
        ),
    )


def qq(sender: str, subject: str, text: str, quoted: str, more: list[str]) -> bytes:
    """QQ Mail: gb18030 in base64, its own separator."""
    below = ""
    if quoted:
        below = (
            f'\n\n\n\n------------------ 原始邮件 ------------------\n发件人: "Desk"<{DESK}>;\n'
            f'发送时间: 2026年11月30日(星期一) 下午5:55\n收件人: "x"<{sender}>;\n主题: y\n\n{quoted}'
        )
    head = [*_head(sender, subject, more, "gb18030"), "X-QQ-mid: webmail812t1764496500t7654321", "X-QQ-STYLE:"]
    return letter(
        head,
        multi(
            "multipart/alternative",
            part('text/plain;\r\n\tcharset="gb18030"', (text + below).encode("gb18030"), "base64"),
            part('text/html;\r\n\tcharset="gb18030"', html_of(text, quoted).encode("gb18030"), "base64"),
            boundary="----=_NextPart_692C1234_0C2A5B10_5D6E7F80",
        ),
    )


def netease(sender: str, subject: str, text: str, quoted: str, more: list[str]) -> bytes:
    """163: GBK, a line of the date and the sender before marks."""
    below = f'\n\n\n\nAt 2026-11-30 17:55:00, "Desk" <{DESK}> wrote:\n>{quoted}\n' if quoted else ""
    head = [*_head(sender, subject, more, "gbk"), "X-Coremail-Locale: zh_CN", "X-CM-TRANSID: x"]
    return letter(head, part("text/plain; charset=GBK", (text + below).encode("gbk", "replace"), "base64"))


def foxmail(sender: str, subject: str, text: str, quoted: str, more: list[str]) -> bytes:
    """Foxmail: GB2312 by name, a head of its own below a rule."""
    below = f"\n\n\n\n发件人： Desk\n发送时间： 2026-11-30 17:55\n收件人： x\n主题： y\n{quoted}" if quoted else ""
    head = [*_head(sender, subject, more, "gb2312"), "X-Mailer: Foxmail 7.2.25.331[cn]"]
    return letter(head, part('text/plain;\r\n\tcharset="GB2312"', (text + below).encode("gbk", "replace"), "base64"))


def thunderbird(sender: str, subject: str, text: str, quoted: str, more: list[str]) -> bytes:
    """Thunderbird: plain, 8bit, format=flowed, the answer below the quote."""
    wrote = {IVAN: "30.11.2026 12:55, Desk пишет:", CHEN: "在 2026/11/30 17:55, Desk 写道:"}
    above = f"{wrote.get(sender, 'On 11/30/26 9:55 AM, Desk wrote:')}\n> {quoted}\n\n" if quoted else ""
    signature = f"\n\n-- \n{NAMES.get(sender, 'x')}\n"
    lines = (above + text + signature).replace("\n", "\r\n")
    head = [*_head(sender, subject, more), "User-Agent: Mozilla Thunderbird"]
    return letter(
        head,
        f"Content-Type: text/plain; charset=UTF-8; format=flowed\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{lines}",
    )


def the_bat(sender: str, subject: str, text: str, quoted: str, more: list[str]) -> bytes:
    """The Bat!: windows-1251 as it is, initials before the quote mark are rare by now."""
    above = (
        f"Понедельник, 30 ноября 2026 г., 12:55:00, Desk <{DESK}> писал:\r\n\r\n> {quoted}\r\n\r\n" if quoted else ""
    )
    head = [*_head(sender, subject, more, "windows-1251"), "X-Mailer: The Bat! (v10.5)"]
    content = "Content-Type: text/plain; charset=windows-1251\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    start = ("\r\n".join(head) + "\r\nMIME-Version: 1.0\r\n" + content).encode()
    return start + (above + text.replace("\n", "\r\n") + "\r\n").encode("windows-1251", "replace")


def roundcube(sender: str, subject: str, text: str, quoted: str, more: list[str]) -> bytes:
    """Roundcube: 7bit or quoted-printable, flowed, the answer above."""
    below = f"\n\nOn 2026-11-30 12:55, Desk wrote:\n> {quoted}" if quoted else ""
    head = [*_head(sender, subject, more), "User-Agent: Roundcube Webmail/1.6.9"]
    body = part("text/plain; charset=UTF-8; format=flowed", text + below, "quoted-printable")
    return letter(head, body)


PROGRAMS: dict[str, tuple[Callable[..., bytes], tuple[str, ...]]] = {
    "outlook": (outlook, (ANN, IVAN, CHEN)),
    "outlook_koi8": (outlook_ru, (ANN, IVAN)),
    "gmail": (gmail, (ANN, IVAN, CHEN)),
    "iphone": (iphone, (ANN, IVAN, CHEN)),
    "yandex": (yandex, (IVAN,)),
    "mailru": (mailru, (IVAN,)),
    "qq": (qq, (CHEN,)),
    "netease": (netease, (CHEN,)),
    "foxmail": (foxmail, (CHEN,)),
    "thunderbird": (thunderbird, (ANN, IVAN, CHEN)),
    "the_bat": (the_bat, (IVAN,)),
    "roundcube": (roundcube, (ANN, IVAN)),
}
WORDS: dict[str, dict[str, str]] = {
    ANN: {
        "new": "Hello,\n\nno data from the truck since noon.\nPlease look at it.",
        "reply": "It stands at the depot, engine off.",
        "yes": "Yes, it works again.",
        "no": "No, there is still no data.",
        "thanks": "Thank you very much!",
        "again": "It does not work again.",
        "asked": "Is it all right now?",
    },
    IVAN: {
        "new": "Добрый день!\n\nС полудня нет данных с машины.\nПосмотрите, пожалуйста.",
        "reply": "Она стоит на базе, двигатель выключен.",
        "yes": "Да, всё работает.",
        "no": "Нет, данных так и нет.",
        "thanks": "Спасибо большое!",
        "again": "Опять не работает.",
        "asked": "Всё ли теперь в порядке?",
    },
    CHEN: {
        "new": "您好，\n\n中午以来车辆没有数据。\n请检查一下。",
        "reply": "车停在场里，发动机关着。",
        "yes": "是的，已经恢复了。",
        "no": "没有，还是没有数据。",
        "thanks": "谢谢！",
        "again": "又没有数据了。",
        "asked": "现在正常了吗？",
    },
}
SUBJECTS = {ANN: "No data", IVAN: "Нет данных", CHEN: "没有数据"}
LANGUAGE = {ANN: "en", IVAN: "ru", CHEN: "zh"}


def programs() -> None:
    """Each program in the languages it is used in: a new request, and replies of every kind in turn."""
    turns = [
        ("reply", "work", "reply", "appended", "reply"),
        ("yes", "consent", "recovered", "consented", "fixed"),
        ("no", "consent", "recovered", "disputed", "not_fixed"),
        ("reply", "wait", "question", "answered", "answer"),
        ("thanks", "closed", "closed", "appended", "thanks"),
        ("again", "closed", "closed", "reopened", "not_fixed"),
        ("again", "old", "closed", "followed_up", "late"),
    ]
    turn = 0
    for name, (program, senders) in PROGRAMS.items():
        for sender in senders:
            said = WORDS[sender]
            identity = f"Message-ID: <{name}.{LANGUAGE[sender]}.new@client.example>"
            raw = program(sender, SUBJECTS[sender], said["new"], "", [identity])
            expected = {"verdict": "opened", "reason": "new", "sender": sender, "subject": SUBJECTS[sender]}
            add(f"{name}_{LANGUAGE[sender]}_new", raw, said=said["new"], **expected)
            for _ in range(3):
                words, state, kind, verdict, reason = turns[turn % len(turns)]
                by_id = turn % 3 != 2
                turn += 1
                more = [f"Message-ID: <{name}.{LANGUAGE[sender]}.{turn}@client.example>"]
                if by_id:
                    answered = f"{{{{{state}.{kind}}}}}"
                    more += [f"In-Reply-To: {answered}", f"References: <first@client.example>\r\n {answered}"]
                # The tag stays plain: programs encode the words that need it.
                subject = f"Re: [#{{{{{state}.number}}}}] " + word(SUBJECTS[sender])
                raw = program(sender, subject, said[words], said["asked"], more)
                key = f"{name}_{LANGUAGE[sender]}_{words}_{state}_{'id' if by_id else 'tag'}"
                while key in made:
                    key += "_2"
                add(
                    key,
                    raw,
                    verdict=verdict,
                    reason=reason,
                    ticket=state,
                    by="message-id" if by_id else "tag",
                    said=said[words],
                    sender=sender,
                )


# -- machines -------------------------------------------------------------------------------------------------------


def dsn(
    words_: str,
    fields: str,
    original: str = "message/rfc822",
    *,
    sender: str = "MAILER-DAEMON@mx.client.example",
    subject: str = "Undelivered Mail Returned to Sender",
    returned: str = "{{work.ack}}",
    more: str = "",
) -> str:
    """A delivery report with its three parts."""
    copy = f"Message-ID: {returned}\r\nFrom: {DESK}\r\nTo: {ANN}\r\nSubject: [#{{{{work.number}}}}] x\r\n\r\nHello\r\n"
    return (
        f"Return-Path: <>\r\nFrom: {sender}\r\nTo: {DESK}\r\nSubject: {subject}\r\n"
        f"Message-ID: <dsn{len(made)}@mx.client.example>\r\n{more}MIME-Version: 1.0\r\n"
        + multi(
            "multipart/report; report-type=delivery-status",
            f"Content-Type: text/plain; charset=utf-8\r\n\r\n{words_}\r\n",
            f"Content-Type: message/delivery-status\r\n\r\n{fields}\r\n",
            f"Content-Type: {original}\r\n\r\n{copy}",
            boundary="9B3F41C0A7.1764496800/mx.client.example",
        )
    )


def fields(action: str, status: str, why: str, address: str = ANN) -> str:
    return (
        "Reporting-MTA: dns; mx.client.example\r\nArrival-Date: Mon, 30 Nov 2026 10:00:00 +0000\r\n\r\n"
        f"Final-Recipient: rfc822; {address}\r\nOriginal-Recipient: rfc822;{address}\r\nAction: {action}\r\n"
        f"Status: {status}\r\nRemote-MTA: dns; mx.acme.example\r\nDiagnostic-Code: smtp; {why}\r\n"
    )


def bounces() -> None:
    hard = {"verdict": "bounced", "reason": "hard", "ticket": "work", "bounced": [ANN]}
    soft = {"verdict": "bounced", "reason": "soft", "ticket": "work", "bounced": []}
    gone = "550 5.1.1 <ann@acme.example>: Recipient address rejected: User unknown"
    add("bounce_postfix", dsn("I'm sorry to have to inform you", fields("failed", "5.1.1", gone)), **hard)
    add(
        "bounce_postfix_headers_only",
        dsn("x", fields("failed", "5.1.1", gone), "text/rfc822-headers"),
        **hard,
    )
    add(
        "bounce_postfix_full",
        dsn("x", fields("failed", "5.2.2", "552 5.2.2 Mailbox full")),
        **soft,
    )
    add(
        "bounce_postfix_delayed",
        dsn(
            "still trying",
            fields("delayed", "4.4.1", "connect: timed out"),
            subject="Delayed Mail (still being retried)",
        ),
        **soft,
    )
    add(
        "bounce_postfix_policy",
        dsn("x", fields("failed", "5.7.1", "554 5.7.1 Spam message rejected")),
        **soft,
    )
    add(
        "bounce_postfix_no_host",
        dsn("x", fields("failed", "5.4.4", "Host or domain name not found. Name service error")),
        **hard,
    )
    add(
        "bounce_exchange",
        dsn(
            "Delivery has failed to these recipients or groups: Ann Lee",
            fields("failed", "5.1.10", "550 5.1.10 RESOLVER.ADR.RecipientNotFound; not found by SMTP address lookup"),
            sender='"Microsoft Outlook" <MicrosoftExchange329e71ec@acme.example>',
            subject="Undeliverable: [#{{work.number}}] x",
            more="X-MS-Exchange-Message-Is-Ndr:\r\nauto-submitted: auto-replied\r\n",
        ),
        **hard,
    )
    add(
        "bounce_gmail",
        dsn(
            "** Address not found **",
            fields("failed", "5.1.1", "550-5.1.1 The email account that you tried to reach does not exist."),
            sender="Mail Delivery Subsystem <mailer-daemon@googlemail.example>",
            subject="Delivery Status Notification (Failure)",
            more="X-Failed-Recipients: ann@acme.example\r\nAuto-Submitted: auto-replied\r\n",
        ),
        **hard,
    )
    add(
        "bounce_yandex",
        dsn(
            "Письмо не доставлено: нет такого пользователя",
            fields("failed", "5.7.1", "550 5.7.1 No such user!"),
            sender="mailer-daemon@yandex.example",
            subject=word("Недоставленное сообщение"),
        ),
        **hard,
    )
    add(
        "bounce_mailru",
        dsn(
            "не удалось доставить",
            fields("failed", "5.0.0", "550 Message was not accepted -- invalid mailbox. Local mailbox is unavailable"),
            subject="Mail failure.",
        ),
        **hard,
    )
    add(
        "bounce_qq",
        dsn(
            "您的邮件被退回",
            fields("failed", "5.1.1", "550 The recipient may contain a non-existent account 收件人地址错误"),
            sender='"=?gb18030?B?UVHTys/k1sfE3NbH?=" <PostMaster@qq.example>',
            subject=word("来自PostMaster的退信", "gb18030"),
        ),
        **hard,
    )
    exim = (
        "Return-Path: <>\r\nFrom: Mail Delivery System <Mailer-Daemon@mx.client.example>\r\nTo: "
        "support@desk.example\r\n"
        "Subject: Mail delivery failed: returning message to sender\r\nMessage-Id: "
        "<E1tHxyz-0004ab-3C@mx.client.example>\r\n"
        "X-Failed-Recipients: ann@acme.example\r\nAuto-Submitted: auto-replied\r\n\r\n"
        "This message was created automatically by mail delivery software.\r\n\r\n"
        "A message that you sent could not be delivered to one or more of its\r\nrecipients.\r\n\r\n"
        "  ann@acme.example\r\n    host mx.acme.example [198.51.100.4]\r\n"
        "    SMTP error from remote mail server after RCPT TO:<ann@acme.example>:\r\n"
        "    550 5.1.1 no such user here\r\n\r\n"
        "------ This is a copy of the message, including all the headers. ------\r\n\r\n"
        "Return-path: <support@desk.example>\r\nMessage-ID: {{work.ack}}\r\nFrom: support@desk.example\r\n"
        "To: ann@acme.example\r\nCc: bob@acme.example\r\n\r\nHello\r\n"
    )
    add("bounce_exim_words", exim, **hard)
    noted = exim.replace("Auto-Submitted", "X-Note: {{work.ack}}\r\nAuto-Submitted").replace("0004ab", "0004ac")
    add("bounce_exim_no_copy", noted.partition("------")[0], **hard)
    add(
        "bounce_exim_warning",
        exim.replace("0004ab", "0004ad")
        .replace("Mail delivery failed: returning message to sender", "Warning: message 1tHxyz delayed 24 hours")
        .replace("550 5.1.1 no such user here", "connection timed out"),
        **soft,
    )
    add(
        "bounce_qmail",
        "Return-Path: <>\r\nFrom: MAILER-DAEMON@mx.client.example\r\nTo: support@desk.example\r\n"
        "Subject: failure notice\r\n"
        "Message-ID: <20261130.qmail@mx.client.example>\r\n\r\nHi. This is the qmail-send program "
        "at mx.client.example.\r\n"
        "I'm afraid I wasn't able to deliver your message to the following addresses.\r\n\r\n<ann@acme.example>:\r\n"
        "198.51.100.4 does not like recipient.\r\nRemote host said: 550 5.1.1 unknown user\r\n"
        "Giving up on 198.51.100.4.\r\n\r\n"
        "--- Below this line is a copy of the message.\r\n\r\nReturn-Path: <support@desk.example>\r\n"
        "Message-ID: {{work.ack}}\r\nFrom: support@desk.example\r\n\r\nHello\r\n",
        **hard,
    )
    add(
        "bounce_forwarding_behind",
        dsn("x", fields("failed", "5.1.1", "550 5.1.1 User unknown", "ann.lee@other.example")),
        **hard,
    )
    add(
        "bounce_of_nothing_of_ours",
        dsn("x", fields("failed", "5.1.1", gone, "nobody@other.example"), returned="<other@client.example>").replace(
            "[#{{work.number}}] ", ""
        ),
        verdict="dropped",
        reason="machine",
        bounced=[],
    )
    add(
        "bounce_truncated",
        dsn("x", fields("failed", "5.1.1", gone)).rpartition("Subject: [#")[0],
        **hard,
    )
    add(
        "bounce_utf8_recipient",
        dsn("x", fields("failed", "5.1.1", gone).replace("rfc822;", "utf-8;")),
        **hard,
    )


def vacations() -> None:
    def away(name: str, headers: str, text: str, subject: str = "Re: [#{{work.number}}] x", **expected: Any) -> None:
        raw = (
            f"From: Ann Lee <{ANN}>\r\nTo: {DESK}\r\nSubject: {subject}\r\nMessage-ID: "
            f"<away.{name}@client.example>\r\n"
            f"{headers}MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
            f"Content-Transfer-Encoding: 8bit\r\n\r\n"
            f"{text}\r\n"
        )
        add(f"away_{name}", raw, **({"verdict": "noted", "reason": "machine", "ticket": "work"} | expected))

    reply = "In-Reply-To: {{work.ack}}\r\n"
    away(
        "outlook",
        f"{reply}X-Auto-Response-Suppress: All\r\nauto-submitted: auto-generated\r\n",
        "I am out until Monday.",
        "Automatic reply: [#{{work.number}}] x",
    )
    away("gmail", f"{reply}Auto-Submitted: auto-replied\r\nPrecedence: bulk\r\nX-Autoreply: yes\r\n", "On holiday.")
    away("yandex", f"{reply}Auto-Submitted: auto-replied (vacation)\r\nX-Yandex-Autoreply: yes\r\n", "Я в отпуске.")
    away("mailru", f"{reply}Precedence: auto_reply\r\nX-Autoreply: Yes\r\n", "Меня нет до понедельника.")
    away(
        "qq",
        f"{reply}X-QQ-Autoreply: true\r\n",
        "这是来自QQ邮箱的假期自动回复邮件。",
        word("自动回复: ") + " [#{{work.number}}]",
    )
    away("sieve", f"{reply}Auto-Submitted: auto-replied (vacation)\r\n", "Away.", "Auto: [#{{work.number}}] x")
    away("vacation1", f"{reply}Precedence: bulk\r\n", "I will read your mail when I return.", "away from my mail")
    away("notes", f"{reply}X-Autogenerated: Reply\r\n", "I am out of the office until 12/07.", "AUTO: Ann is out")
    away("suppress", f"{reply}X-Auto-Response-Suppress: DR, OOF, AutoReply\r\n", "Thank you for your mail.")
    away("no_headers", reply, "Bin nicht da.", "Out of Office: [#{{work.number}}] x")
    away("no_headers_ru", reply, "Меня нет.", word("Автоответ: ") + " [#{{work.number}}]")
    away("yes_inside", f"{reply}Auto-Submitted: auto-replied\r\n", "Yes", verdict="noted")
    away("null_path", "Return-Path: <>\r\n" + reply, "Your mail was read by nobody.")
    away("new", "Auto-Submitted: auto-generated\r\n", "Weekly summary.", "Summary", verdict="dropped", ticket="")
    away(
        "waiting",
        "In-Reply-To: {{wait.question}}\r\nAuto-Submitted: auto-replied\r\n",
        "Away.",
        "Re: x",
        ticket="wait",
        state="waiting_client",
    )
    away(
        "closed",
        "In-Reply-To: {{closed.closed}}\r\nPrecedence: junk\r\n",
        "It does not work here.",
        "Re: x",
        ticket="closed",
        state="closed",
    )
    away("submitted_no", f"{reply}Auto-Submitted: no\r\n", "A person wrote this.", verdict="appended", reason="reply")
    away("suppress_none", f"{reply}X-Auto-Response-Suppress: None\r\n", "So did I.", verdict="appended", reason="reply")


def receipts_lists_calendars() -> None:
    def receipt(name: str, told: str, words_: str, subject: str) -> None:
        raw = (
            f"From: Ann Lee <{ANN}>\r\nTo: {DESK}\r\nSubject: {subject}\r\nMessage-ID: "
            f"<read.{name}@client.example>\r\n"
            "MIME-Version: 1.0\r\n"
            + multi(
                "multipart/report; report-type=disposition-notification",
                f"Content-Type: text/plain; charset=utf-8\r\n\r\n{words_}\r\n",
                "Content-Type: message/disposition-notification\r\n\r\nFinal-Recipient: rfc822; ann@acme.example\r\n"
                f"Original-Message-ID: {{{{work.reply}}}}\r\nDisposition: {told}\r\n",
            )
        )
        add(f"receipt_{name}", raw, verdict="noted", reason="machine", ticket="work")

    receipt("read", "manual-action/MDN-sent-manually; displayed", "Your message was read", "Read: x")
    receipt("ru", "automatic-action/MDN-sent-automatically; displayed", "Прочитано", word("Прочтено: x"))
    receipt("deleted", "automatic-action/MDN-sent-automatically; deleted", "Deleted unread", "Not read: x")
    mdn = "From: Ann <ann@acme.example>\r\nTo: x\r\nSubject: Read: x\r\nMessage-ID: <outlook.read@client.example>\r\n"
    add(
        "receipt_outlook_plain",
        mdn + "In-Reply-To: {{work.reply}}\r\n\r\nYour message was read on Monday.\r\n",
        verdict="noted",
        reason="machine",
        ticket="work",
    )

    def listed(name: str, headers: str, sender: str = ANN, **expected: Any) -> None:
        raw = (
            f"From: <{sender}>\r\nTo: {DESK}\r\nSubject: News {name}\r\n"
            f"Message-ID: <list.{name}@client.example>\r\n{headers}\r\nNews.\r\n"
        )
        add(f"list_{name}", raw, **({"verdict": "dropped", "reason": "machine"} | expected))

    listed(
        "mailman",
        "List-Id: Drivers <drivers.client.example>\r\nPrecedence: list\r\nList-Post: <mailto:d@client.example>\r\n",
    )
    listed(
        "google",
        "List-ID: <d.googlegroups.example>\r\nList-Unsubscribe: <mailto:u@g.example>\r\nX-Google-Group-Id: 1\r\n",
    )
    listed("newsletter", "List-Unsubscribe: <https://news.example/u>\r\nFeedback-ID: 1:news\r\n", "news@shop.example")
    listed("noreply", "", "no-reply@shop.example")
    listed("bounces_sender", "", "bounces+123-abc@shop.example")
    listed("own", "List-Id: <fleet-news.desk.example>\r\n", reason="own")
    listed("feedback_report", "Precedence: bulk\r\n", "fbl@isp.example")

    def invite(name: str, method: str, **expected: Any) -> None:
        ics = (
            f"BEGIN:VCALENDAR\r\nMETHOD:{method}\r\nBEGIN:VEVENT\r\nUID:1@client.example\r\n"
            f"SUMMARY:Visit\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
        )
        raw = letter(
            [
                f"From: Ann Lee <{ANN}>",
                f"To: {DESK}",
                f"Subject: Visit {name}",
                f"Message-ID: <cal.{name}@client.example>",
            ],
            multi(
                "multipart/alternative",
                part("text/plain; charset=utf-8", f"Visit on Tuesday, {name}", "7bit"),
                part(f"text/calendar; charset=utf-8; method={method}", ics, "7bit"),
            ),
        )
        add(f"calendar_{name}", raw, **expected)

    invite(
        "request",
        "REQUEST",
        verdict="opened",
        reason="new",
        files=["invite.ics|text/calendar"],
        said="Visit on Tuesday, request",
    )
    invite("reply", "REPLY", verdict="dropped", reason="machine")
    invite("counter", "COUNTER", verdict="dropped", reason="machine")
    invite("cancel", "CANCEL", verdict="opened", reason="new", files=["invite.ics|text/calendar"])


# -- bodies that are odd --------------------------------------------------------------------------------------------


def simple(headers: str, body: bytes | str, sender: str = ANN, subject: str = "No data") -> bytes:
    name = f"simple{len(made)}"
    head = (
        f"From: Ann Lee <{sender}>\r\nTo: {DESK}\r\nSubject: {subject}\r\n"
        f"Message-ID: <{name}@client.example>\r\n{headers}\r\n"
    )
    return head.encode("utf-8", "surrogateescape") + (body.encode() if isinstance(body, str) else body)


def text_type(charset: str, encoding: str = "8bit") -> str:
    return (
        f"MIME-Version: 1.0\r\nContent-Type: text/plain; charset={charset}\r\nContent-Transfer-Encoding: {encoding}\r\n"
    )


def charsets() -> None:
    russian, chinese = "Нет данных с полудня, посмотрите.", "中午以来车辆没有数据，请检查。"
    opened = {"verdict": "opened", "reason": "new"}
    for charset, text in {
        "koi8-r": russian,
        "windows-1251": russian,
        "iso-8859-5": russian,
        "cp866": russian,
        "utf-8": russian,
        "KOI8-U": russian,
        "gb2312": chinese,
        "gbk": chinese,
        "gb18030": chinese,
        "big5": "車輛沒有資料",
        "hz-gb-2312": chinese,
        "utf-16": russian,
        "iso-8859-1": "Keine Daten für Häuser",
        "windows-1252": "It’s “dead” – since noon",
        "iso-2022-jp": "データがありません",
        "shift_jis": "データがありません",
        "euc-kr": "데이터가 없습니다",
        "ks_c_5601-1987": "데이터가 없습니다",
    }.items():
        codec = {"hz-gb-2312": "hz", "ks_c_5601-1987": "cp949", "gb2312": "gbk"}.get(charset, charset)
        raw = simple(text_type(charset, "base64"), b64(text.encode(codec)))
        add(f"charset_{charset.lower().replace('-', '_')}", raw, said=text, **opened)
    for name, data, text in (
        ("utf8_as_ascii", russian.encode(), russian),
        ("koi8_unlabelled", russian.encode("koi8-r"), russian),
        ("cp1251_unlabelled", russian.encode("cp1251"), russian),
        ("gb18030_unlabelled", chinese.encode("gb18030"), chinese),
        ("cp1252_unlabelled", "Müller: keine Daten für Häuser".encode("cp1252"), "Müller: keine Daten für Häuser"),
    ):
        headers = "MIME-Version: 1.0\r\nContent-Type: text/plain\r\n" if "unlabelled" in name else text_type("us-ascii")
        add(f"charset_{name}", simple(headers, data), said=text, **opened)
    add(
        "charset_wrong_label",
        simple(text_type("utf-8"), russian.encode("koi8-r")),
        said=russian,
        defects=["not utf-8"],
        **opened,
    )
    add(
        "charset_unknown",
        simple(text_type("x-martian"), russian),
        said=russian,
        defects=["charset unknown: x-martian"],
        **opened,
    )
    add(
        "charset_utf7_refused",
        simple(text_type("utf-7", "7bit"), "+ADw-script+AD4- no data"),
        said="+ADw-script+AD4- no data",
        defects=["charset refused: utf-7"],
        **opened,
    )
    add("charset_codec_trick", simple(text_type("idna"), "xn--a no data"), said="xn--a no data", **opened)
    add(
        "charset_quoted_name",
        simple(text_type("\"'koi8-r'\"", "base64"), b64(russian.encode("koi8-r"))),
        said=russian,
        **opened,
    )
    for name, subject, shown in (
        ("split_letter", "=?utf-8?B?0J3Q?=\r\n =?utf-8?B?tdGCINC00LDQvdC90YvRhQ==?=", "Нет данных"),
        ("raw_utf8", "Нет данных", "Нет данных"),
        ("raw_koi8", "Нет данных совсем".encode("koi8-r").decode("utf-8", "surrogateescape"), "Нет данных совсем"),
        ("raw_gb", "没有数据请检查".encode("gb18030").decode("utf-8", "surrogateescape"), "没有数据请检查"),
        ("q_with_spaces", "=?utf-8?Q?No data =D0=B4?=", "=?utf-8?Q?No data =D0=B4?="),
        ("unpadded", "=?utf-8?B?0J3QtdGC?=", "Нет"),
        ("broken_word", "=?utf-8?B?!!!?= data", ""),
        ("unknown_charset", "=?x-martian?B?0J3QtdGC?=", "Нет"),
        ("utf7_word", "=?utf-7?Q?+ADw-script+AD4-?=", "+ADw-script+AD4-"),
        ("mixed", "Re: =?koi8-r?B?7sXU?= and =?gb18030?B?w7vT0A==?=", "Re: Нет and 没有"),
        ("bell_and_null", "No\x07 data\x00 here", "No data here"),
    ):
        expected: dict[str, Any] = {"subject": shown} if shown else {}
        add(
            f"subject_{name}",
            simple(text_type("utf-8"), f"Text of {name}", subject=subject),
            said=f"Text of {name}",
            **expected,
            **opened,
        )


def structures() -> None:
    opened = {"verdict": "opened", "reason": "new"}
    mime = "MIME-Version: 1.0\r\n"
    plain = part("text/plain; charset=utf-8", "No data.", "7bit")
    png = b"\x89PNG\r\n\x1a\n" + bytes(range(64))
    add(
        "mime_no_end",
        simple(mime + multi("multipart/mixed", plain).replace("--=_b0--\r\n", ""), ""),
        said="No data.",
        **opened,
    )
    add("mime_no_boundary", simple(mime + "Content-Type: multipart/mixed\r\n", "No data."), said="No data.", **opened)
    add(
        "mime_wrong_boundary",
        simple(mime + 'Content-Type: multipart/mixed; boundary="other"\r\n', f"--=_b0\r\n{plain}"),
        **opened,
    )
    add("mime_empty_multipart", simple(mime + multi("multipart/mixed"), ""), **opened)
    add(
        "mime_preamble",
        simple(mime + multi("multipart/mixed", plain, preamble="Old programs see this.\r\n"), ""),
        said="No data.",
        **opened,
    )
    add("mime_bad_base64", simple(text_type("utf-8", "base64"), "Tm8gZGF0YS4=!!! not base64 at all"), **opened)
    add("mime_bad_qp", simple(text_type("utf-8", "quoted-printable"), "No=2 data=ZZ since=\r\n noon=20"), **opened)
    add("mime_unknown_encoding", simple(text_type("utf-8", "x-own"), "No data."), said="No data.", **opened)
    add(
        "mime_uppercase",
        simple("MIME-VERSION: 1.0\r\nCONTENT-TYPE: TEXT/PLAIN; CHARSET=UTF-8\r\n", "No data."),
        said="No data.",
        **opened,
    )
    add("mime_type_nonsense", simple(mime + "Content-Type: text\r\n", "No data."), said="No data.", **opened)
    add(
        "mime_two_types",
        simple(mime + "Content-Type: text/plain\r\nContent-Type: text/html\r\n", "No data."),
        said="No data.",
        **opened,
    )
    add(
        "mime_lf_only",
        simple(text_type("utf-8"), "No data.\nAt all.").replace(b"\r\n", b"\n"),
        said="No data.\nAt all.",
        **opened,
    )
    add("mime_cr_only", simple(text_type("utf-8"), "No data.\rAt all."), said="No data.\nAt all.", **opened)
    add("mime_no_mime", simple("", "No data."), said="No data.", **opened)
    add("mime_null_bytes", simple(text_type("utf-8"), b"No \x00data.\x1b[2J"), said="No \ufffddata.\ufffd[2J", **opened)
    add("mime_space_before_colon", simple("X-Odd : yes\r\n" + text_type("utf-8"), "No data."), **opened)
    add("mime_garbage_header", simple("this is no header\r\n", "No data."), **opened)
    add("mime_empty_body", simple(text_type("utf-8"), ""), said="", **opened)
    add("mime_long_line", simple(text_type("utf-8"), "No data. " + "x" * 50_000), **opened)
    add("mime_deep", simple(mime + _deep(60), ""), defects=["parts beyond the limits left out"], **opened)
    add(
        "mime_html_only",
        simple(mime + "Content-Type: text/html; charset=utf-8\r\n", "<p>No&nbsp;data<br>since noon<script>x</script>"),
        said="No data\nsince noon",
        html=True,
        **opened,
    )
    add(
        "mime_html_empty_plain",
        simple(
            mime
            + multi("multipart/alternative", part("text/plain", " \r\n", "7bit"), part("text/html", "<b>No data</b>")),
            "",
        ),
        said="No data",
        **opened,
    )
    add(
        "mime_apple_interleaved",
        simple(
            mime
            + multi(
                "multipart/mixed",
                plain,
                part("image/png", png, Content_Disposition="inline; filename=1.png"),
                part("text/plain; charset=utf-8", "And this.", "7bit"),
            ),
            "",
        ),
        said="No data.\n\nAnd this.",
        files=["1.png|image/png"],
        **opened,
    )
    add(
        "mime_flowed",
        simple(
            mime + "Content-Type: text/plain; charset=utf-8; format=flowed; delsp=yes\r\n",
            "No da \r\nta since n \r\noon.\r\n",
        ),
        said="No data since noon.",
        **opened,
    )
    add(
        "mime_alternative_doubled",
        simple(mime + multi("multipart/alternative", plain, part("text/html", "<p>No data.")), ""),
        said="No data.",
        **opened,
    )
    add(
        "mime_encrypted_pgp",
        simple(
            mime
            + multi(
                'multipart/encrypted; protocol="application/pgp-encrypted"',
                part("application/pgp-encrypted", "Version: 1", "7bit"),
                part("application/octet-stream; name=e.asc", "-----BEGIN PGP MESSAGE-----", "7bit"),
            ),
            "",
        ),
        said="",
        **opened,
    )
    add(
        "mime_smime_signed",
        simple(
            mime
            + multi(
                'multipart/signed; protocol="application/pkcs7-signature"',
                plain,
                part("application/pkcs7-signature; name=smime.p7s", b"\x30\x82\x00"),
            ),
            "",
        ),
        said="No data.",
        files=["smime.p7s|application/octet-stream"],
        **opened,
    )
    add(
        "mime_partial_headers_only",
        f"From: {ANN}\r\nTo: {DESK}\r\nSubject: No data\r\nMessage-ID: <hdr@client.example>",
        said="",
        **opened,
    )
    add(
        "file_tnef",
        simple(
            mime
            + multi(
                "multipart/mixed", plain, part("application/ms-tnef; name=winmail.dat", b"\x78\x9f\x3e\x22\x01\x00")
            ),
            "",
        ),
        said="No data.",
        files=["winmail.dat|application/vnd.ms-tnef"],
        **opened,
    )
    names = {
        "rfc2231": ("application/pdf;\r\n name*=utf-8''%D0%90%D0%BA%D1%82.pdf", "Акт.pdf"),
        "rfc2231_pieces": ("application/pdf;\r\n name*0*=utf-8''%D0%90%D0%BA;\r\n name*1*=%D1%82.pdf", "Акт.pdf"),
        "rfc2047": (f'application/pdf; name="{word("Акт.pdf", "koi8-r")}"', "Акт.pdf"),
        "raw": ('application/pdf; name="Акт.pdf"', "Акт.pdf"),
        "chinese": (f'application/pdf; name="{word("照片.pdf", "gb18030")}"', "照片.pdf"),
        "path": ('application/pdf; name="..\\..\\windows\\system32\\a.pdf"', "a.pdf"),
        "reversed": ('application/pdf; name="=?utf-8?B?cmVwb3J04oCuZnBkLmV4ZQ==?="', "report fpd.exe"),
        "none": ("application/pdf", "application-pdf.pdf"),
    }
    for name, (kind, shown) in names.items():
        raw = simple(mime + multi("multipart/mixed", plain, part(kind, b"%PDF-1.7 x")), "")
        add(f"file_name_{name}", raw, said="No data.", files=[f"{shown}|application/pdf"], **opened)
    add(
        "file_lies_about_type",
        simple(
            mime + multi("multipart/mixed", plain, part("image/jpeg; name=photo.jpg", b"<html><script>x</script>")), ""
        ),
        files=["photo.jpg|text/html"],
        **opened,
    )
    add(
        "file_text_attached",
        simple(
            mime
            + multi(
                "multipart/mixed", plain, part("text/plain; name=log.txt", "line", Content_Disposition="attachment")
            ),
            "",
        ),
        said="No data.",
        files=["log.txt|text/plain"],
        **opened,
    )
    add(
        "file_only",
        simple(mime + part("application/pdf; name=scan.pdf", b"%PDF-1.7"), "").replace(b"\r\n\r\n\r\n", b"\r\n\r\n"),
        **opened,
    )
    add(
        "file_sixty",
        simple(mime + multi("multipart/mixed", plain, *(part(f"image/png; name={n}.png", png) for n in range(60))), ""),
        said="No data.",
        left_out=10,
        **opened,
    )
    inline = multi(
        "multipart/related",
        part("text/html; charset=utf-8", '<p>See <img src="cid:1"></p>'),
        part("image/png; name=1.png", png, Content_ID="<1>"),
    )
    add("file_inline_image", simple(mime + inline, ""), said="See", files=["1.png|image/png"], html=True, **opened)
    for depth in (1, 2, 5):
        inner = f"From: <x@y.example>\r\nTo: <z@y.example>\r\nSubject: Inner {depth}\r\n\r\nOld words, yes it works\r\n"
        for _ in range(depth - 1):
            inner = f"From: <x@y.example>\r\nSubject: Middle\r\n{mime}" + multi(
                "multipart/mixed", plain, "Content-Type: message/rfc822\r\n\r\n" + inner, boundary=f"n{len(inner)}"
            )
        raw = simple(mime + multi("multipart/mixed", plain, "Content-Type: message/rfc822\r\n\r\n" + inner), "")
        name = "Inner 1.eml" if depth == 1 else "Middle.eml"
        add(f"forward_attached_{depth}", raw, said="No data.", files=[f"{name}|text/plain"], **opened)
    inline_forward = (
        "---------- Forwarded message ---------\r\nFrom: Driver <driver@home.example>\r\nDate: Mon\r\n"
        "Subject: lamp\r\nTo: <ann@acme.example>\r\n\r\nThe lamp is red.\r\n"
    )
    add(
        "forward_inline", simple(text_type("utf-8"), "See below.\r\n\r\n" + inline_forward), said="See below.", **opened
    )
    add(
        "forward_inline_bare",
        simple(text_type("utf-8"), inline_forward),
        said=inline_forward.replace("\r\n", "\n").strip(),
        **opened,
    )


def _deep(depth: int) -> str:
    inner = part("text/plain", "deep", "7bit")
    for level in range(depth):
        inner = multi("multipart/mixed", inner, boundary=f"d{level}")
    return inner


def senders() -> None:
    def of(name: str, head: str, **expected: Any) -> None:
        add(
            f"sender_{name}",
            (
                f"{head}To: {DESK}\r\nSubject: No data {name}\r\n"
                f"Message-ID: <of.{name}@client.example>\r\n\r\nNo data.\r\n"
            ),
            **({"verdict": "opened", "reason": "new", "sender": ANN} | expected),
        )

    of("bare", "From: ann@acme.example\r\n")
    of("upper", "From: ANN@ACME.EXAMPLE\r\n")
    of("quoted", 'From: "Lee, Ann" <ann@acme.example>\r\n')
    of("unquoted_comma", "From: Lee, Ann <ann@acme.example>\r\n")
    of("comment", "From: ann@acme.example (Ann Lee)\r\n")
    of("encoded_whole", f"From: {word('Ann “Lee” <ann@acme.example>')}\r\n")
    of("two", "From: Ann <ann@acme.example>, Bob <bob@acme.example>\r\n")
    of("address_in_name", 'From: "support@desk.example" <ann@acme.example>\r\n')
    of("raw_name", "From: Анна <ann@acme.example>\r\n")
    of("folded", "From: Ann\r\n Lee\r\n <ann@acme.example>\r\n")
    of("sender_only", "Sender: Ann <ann@acme.example>\r\n")
    of("none", "", verdict="held", reason="unreadable", sender="")
    of("nonsense", "From: nobody at all\r\n", verdict="held", reason="unreadable", sender="")
    of("group", "From: undisclosed:;\r\n", verdict="held", reason="unreadable", sender="")
    of("unknown", "From: New <new@nowhere.example>\r\n", reason="unregistered", sender="new@nowhere.example")
    of("own", "From: Ann <support@desk.example>\r\n", verdict="dropped", reason="own", sender=DESK)
    of(
        "own_marker",
        "From: ann@acme.example\r\nX-Dozor-Instance: a1b2c3d4e5f60718\r\n",
        verdict="dropped",
        reason="own",
    )
    of(
        "sister_desk",
        "From: desk@dealer.example\r\nX-Dozor-Instance: ffeeddccbbaa9988\r\n",
        verdict="dropped",
        reason="own",
        sender="desk@dealer.example",
    )
    of("other_desk", "From: ann@acme.example\r\nX-Dozor-Instance: 0000000000000000\r\n")
    of(
        "round_and_round",
        "Received: from a by b; Mon, 30 Nov 2026 10:00:00 +0000\r\n" * 55 + "From: ann@acme.example\r\n",
        verdict="dropped",
        reason="own",
    )
    of(
        "spam_unknown",
        "From: x@spam.example\r\nX-Spam-Flag: YES\r\n",
        verdict="held",
        reason="spam",
        sender="x@spam.example",
    )
    of("spam_known", "From: ann@acme.example\r\nX-Spam-Flag: YES\r\n")
    of("reply_to_other", "From: ann@acme.example\r\nReply-To: evil@x.example\r\n")


def threads() -> None:
    def of(
        name: str, headers: str, subject: str = "Re: x", text: str = "At the depot.", sender: str = ANN, **expected: Any
    ) -> None:
        raw = (
            f"From: <{sender}>\r\nTo: {DESK}\r\nSubject: {subject}\r\n"
            f"Message-ID: <thread.{name}@client.example>\r\n{headers}\r\n{text}\r\n"
        )
        add(f"thread_{name}", raw, **({"verdict": "appended", "reason": "reply", "ticket": "work"} | expected))

    of("own_id", "In-Reply-To: {{work.reply}}\r\n", by="message-id")
    of("own_id_in_references", "References: <a@b.example> {{work.reply}} <c@d.example>\r\n", by="message-id")
    of("own_id_folded", "References: <a@b.example>\r\n\t{{work.reply}}\r\n", by="message-id")
    of("own_id_no_brackets", "In-Reply-To: {{work.reply.bare}}\r\n", by="message-id")
    of("own_id_with_comment", 'In-Reply-To: Your message of "Mon" {{work.reply}}\r\n', by="message-id")
    of("foreign_id", "In-Reply-To: {{work.foreign}}\r\n", by="reference")
    of("tag", "", "Re: [#{{work.number}}] x", by="tag")
    of("tag_moved", "", "AW: Fwd: x [#{{work.number}}]", by="tag")
    of("tag_spaced", "", "Re: [ # {{work.number}} ] x", by="tag")
    of("tag_encoded", "", "=?utf-8?B?0J3QtdGC?= [#{{work.number}}]", by="tag")
    of(
        "marker",
        "",
        "Another subject",
        "At the depot.\r\n\r\n> Ticket [#{{work.number}}]",
        by="marker",
        said="At the depot.",
    )
    of(
        "forged_id",
        "In-Reply-To: <t.{{work.number}}.2.00000000@desk.example>\r\n",
        "x",
        verdict="opened",
        reason="new",
        ticket="",
        by="",
    )
    of(
        "forged_id_with_tag",
        "In-Reply-To: <t.{{work.number}}.2.00000000@desk.example>\r\n",
        "[#{{work.number}}] x",
        by="tag",
    )
    of("id_over_tag", "In-Reply-To: {{work.reply}}\r\n", "[#{{wait.number}}] x", by="message-id")
    of("reference_over_tag", "In-Reply-To: {{work.foreign}}\r\n", "[#{{wait.number}}] x", by="reference")
    of("wrong_digit", "", "[#{{work.wrong}}] x", verdict="opened", reason="new", ticket="", by="")
    of("unknown_number", "", "[#DZ-99990000000]", verdict="opened", reason="new", ticket="", by="")
    of("number_without_tag", "", "about {{work.number}}", verdict="opened", reason="new", ticket="", by="")
    of("merged", "", "[#{{merged.number}}] x", ticket="survivor", by="tag")
    of(
        "stranger_tag",
        "",
        "[#{{work.number}}] x",
        sender="eve@evil.example",
        verdict="held",
        reason="stranger",
        by="tag",
    )
    of(
        "stranger_own_id",
        "In-Reply-To: {{work.reply}}\r\n",
        sender=CHEN,
        verdict="held",
        reason="stranger",
        by="message-id",
    )
    of(
        "stranger_reference",
        "In-Reply-To: {{work.foreign}}\r\n",
        sender="eve@evil.example",
        verdict="held",
        reason="stranger",
        by="reference",
    )
    of(
        "stranger_yes",
        "In-Reply-To: {{consent.recovered}}\r\n",
        text="Yes",
        sender="eve@evil.example",
        verdict="held",
        reason="stranger",
        ticket="consent",
        state="awaiting_consent",
    )
    of("colleague", "", "[#{{work.number}}] x", sender="bob@acme.example", by="tag")
    of(
        "split_and_secret",
        "",
        "[#{{work.number}}] x",
        "IMEI 356938035643809 as well.\r\npassword: Gx7!kvm2",
        hints=["secrets"],
    )
    of(
        "long_outlook_id",
        f"In-Reply-To: <{'A' * 90}@PR3P192MB0987.eurprd05.prod.example>\r\nReferences: {{{{work.reply}}}}\r\n",
        by="message-id",
    )
    of("id_as_encoded_word", "In-Reply-To: =?utf-8?Q?{{work.reply.quoted}}?=\r\n", by="message-id")
    of(
        "yes_to_other_letter",
        "In-Reply-To: {{consent.reply}}\r\n",
        text="Yes",
        ticket="consent",
        state="awaiting_consent",
    )
    of("ok_is_no_yes", "In-Reply-To: {{consent.recovered}}\r\n", text="OK", ticket="consent", state="awaiting_consent")
    of(
        "thanks_to_question",
        "In-Reply-To: {{wait.question}}\r\n",
        text="Thanks!",
        ticket="wait",
        state="waiting_client",
    )


def compose() -> dict[str, tuple[bytes, dict[str, Any]]]:
    """All of them by name."""
    made.clear()
    for section in (programs, bounces, vacations, receipts_lists_calendars, charsets, structures, senders, threads):
        section()
    return made


def write() -> int:
    """Write all of them anew."""
    compose()
    shutil.rmtree(RAW, ignore_errors=True)
    RAW.mkdir()
    for name, (raw, expected) in made.items():
        (RAW / f"{name}.eml").write_bytes(raw)
        lines = [f"{key} = {_toml(value)}" for key, value in expected.items()]
        (RAW / f"{name}.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(made)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(_toml(one) for one in value) + "]"
    if isinstance(value, int):
        return str(value)
    shown = str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\ufffd", "\\uFFFD")
    return f'"{shown}"'


if __name__ == "__main__":
    print(f"{write()} mails in {RAW}")
