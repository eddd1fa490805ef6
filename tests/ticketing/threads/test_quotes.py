"""What a mail says anew, as the mail programs quote."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticketing.threads.quotes import said

SHAPES = {
    "gmail en": "It works.\n\nOn Mon, Nov 30, 2026 at 10:05 AM Desk <support@desk.example> wrote:\n"
    "\n> Is it fixed?\n>\n",
    "gmail en, wrapped": "It works.\n\nOn Mon, Nov 30, 2026 at 10:05 AM The Desk of Example\n"
    "<support@desk.example> wrote:\n> Is it fixed?",
    "gmail ru": "It works.\n\nпн, 30 нояб. 2026 г. в 10:05, Desk <support@desk.example>:\n\n> Всё ли в порядке?\n",
    "yandex": 'It works.\n\n30.11.2026, 10:05, "Desk" <support@desk.example>:\n> Всё ли в порядке?\n',
    "mail.ru": "It works.\n\nПонедельник, 30 ноября 2026, 10:05 +03:00 от Desk <support@desk.example>:\n"
    "Всё ли в порядке?\nС уважением",
    "iphone ru": "It works.\n\nОтправлено с iPhone\n\n> 30 нояб. 2026 г., в 10:05, Desk "
    "<a@desk.example> написал(а):\n> Всё ли?",
    "thunderbird ru": "It works.\n\n30.11.2026 10:05, Desk пишет:\n> Всё ли в порядке?",
    "outlook en": "It works.\n\n-----Original Message-----\nFrom: Desk\nSent: Monday\nTo: Ann\n"
    "Subject: x\n\nIs it fixed?",
    "outlook new": "It works.\n\n________________________________\nFrom: Desk <a@desk.example>\n"
    "Sent: Monday\nTo: Ann\n\nIs it?",
    "outlook ru": "It works.\n\nОт: Desk <a@desk.example>\nОтправлено: 30 ноября 2026 г. 10:05\n"
    "Кому: Ann\nТема: x\n\nВсё ли?",
    "outlook zh": "It works.\n\n发件人: Desk <a@desk.example>\n发送时间: 2026年11月30日 10:05\n"
    "收件人: Ann\n主题: x\n\n好了吗",
    "qq": "It works.\n\n\n------------------ 原始邮件 ------------------\n发件人: Desk\n好了吗",
    "qq, english": "It works.\n\n------------------ Original ------------------\nFrom: Desk\n好了吗",
    "163": 'It works.\n\nAt 2026-11-30 10:05:00, "Desk" <support@desk.example> wrote:\n>Is it?',
    "foxmail": "It works.\n\n在 2026年11月30日 10:05，support@desk.example 写道：\n好了吗",
    "below the quote": "On 30.11.2026 10:05, Desk wrote:\n> Is it fixed?\n\nIt works.\n",
    "signature": "It works.\n-- \nAnn\nAcme",
    "phone": "It works.\n\nSent from my phone",
}


@pytest.mark.parametrize("shape", SHAPES)
def test_only_what_is_new_is_left(shape: str) -> None:
    assert said(SHAPES[shape]) == "It works."


def test_answers_between_quoted_lines_are_all_kept() -> None:
    text = "On 30.11.2026 10:05, Desk wrote:\n> Which plate?\nA001AA\n> Since when?\nyesterday\n"
    assert said(text) == "A001AA\nyesterday"


def test_lists_headings_and_addresses_are_no_quotes() -> None:
    text = (
        "From here on: nothing.\nTwo things:\n- lamp is off\n- write to ann@acme.example:\n-- bold --\nOriginal message"
    )
    assert said(text) == text


def test_a_forward_stays_whole() -> None:
    text = "---------- Forwarded message ---------\nFrom: Ann <ann@acme.example>\nTo: Bob\n\nNo data."
    assert said(text) == text


@given(st.text(alphabet=st.sampled_from("On wrote:>\n-_ 1.@<a"), max_size=400))
def test_what_comes_out_was_in_it(text: str) -> None:
    out = said(text)
    assert all(line.strip() in text for line in out.splitlines())
    assert bool(out) == bool(text.strip())


@pytest.mark.parametrize(
    "line", ["On " + "a " * 100_000, "On 2026 a\n" * 50_000, "> \n" * 200_000, "_" * 300_000, "a@" * 150_000 + ":"]
)
def test_hostile_lines_take_no_time(line: str) -> None:
    began = time.process_time()
    said(line + "\nhello")
    assert time.process_time() - began < 2
