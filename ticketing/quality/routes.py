"""The rows of these routes."""

from __future__ import annotations

from ticketing.core.paging import Page
from ticketing.kit.routes import Row
from ticketing.people.scope import Kind
from ticketing.quality import api, pages
from ticketing.quality.known_errors import ChangedKnownError, KnownError, NewKnownError
from ticketing.quality.reply_templates import ChangedReplyTemplate, FilledReply, NewReplyTemplate, ReplyTemplate
from ticketing.quality.reviews import Mark, Review, ReviewRates
from ticketing.tickets.known import HitRate

TAG = "Quality"
ACTIVE = ("active", "`yes` or `no`: only those; without it both")
LANGUAGE = ("language", "in this language: en, ru, zh")
MONTH = ("month", "of this month, such as 2026-03")

ROUTES = (
    Row("GET", "/api/known-errors", "known-errors", api.known_errors, "Known errors", TAG, answer=Page[KnownError],
        kind=Kind.KNOWN_ERROR, paged=True,
        filters=(("search", "words that all are in it"), ("kind", "about this kind of incident"), ACTIVE)),
    Row("GET", "/api/known-errors/{id}", "known-errors", api.known_error, "One known error", TAG, answer=KnownError,
        kind=Kind.KNOWN_ERROR),
    Row("POST", "/api/known-errors", "known-errors.write", api.add_known_error, "Add a known error", TAG,
        body=NewKnownError, answer=KnownError, status=201, kind=Kind.KNOWN_ERROR),
    Row("PATCH", "/api/known-errors/{id}", "known-errors.write", api.change_known_error, "Change a known error", TAG,
        body=ChangedKnownError, answer=KnownError, kind=Kind.KNOWN_ERROR),
    Row("GET", "/api/reports/knowledge", "knowledge", api.hit_rate,
        "For how many tickets known errors were suggested, read and of help", TAG, answer=HitRate,
        filters=(("organisation", "of this client: its id"),
                 ("from", "ISO 8601 with an offset; default 90 days before `to`"),
                 ("to", "its end; default now; two years at most"))),
    Row("GET", "/api/reply-templates", "reply-templates", api.reply_templates, "Reply templates", TAG,
        answer=Page[ReplyTemplate], paged=True, filters=(LANGUAGE, ACTIVE)),
    Row("GET", "/api/reply-templates/{id}", "reply-templates", api.reply_template, "One reply template", TAG,
        answer=ReplyTemplate),
    Row("POST", "/api/reply-templates", "reply-templates.write", api.add_reply_template, "Add a reply template", TAG,
        body=NewReplyTemplate, answer=ReplyTemplate, status=201),
    Row("PATCH", "/api/reply-templates/{id}", "reply-templates.write", api.change_reply_template,
        "Change a reply template", TAG, body=ChangedReplyTemplate, answer=ReplyTemplate),
    Row("GET", "/api/tickets/{number}/reply-templates", "reply-templates", api.offered,
        "Reply templates in the client's language, filled with what the ticket tells", TAG, answer=Page[FilledReply],
        filters=(("language", "in this language: en, ru, zh; default the client's"),)),
    Row("GET", "/api/reviews", "reviews", api.listed, "Messages to clients that were drawn for review", TAG,
        answer=Page[Review], paged=True,
        filters=(MONTH, ("engineer", "written by this person"), ("marked", "`yes` or `no`: whether it was reviewed"))),
    Row("GET", "/api/reviews/{id}", "reviews", api.review, "One message drawn for review", TAG, answer=Review),
    Row("PATCH", "/api/reviews/{id}", "reviews.write", api.mark, "Review a message, once; not one's own", TAG,
        body=Mark, answer=Review),
    Row("GET", "/api/reports/reviews", "reviews", api.rates,
        "Whether as much as the policies want was reviewed, by person", TAG, answer=ReviewRates,
        filters=(("month", "such as 2026-03; default the last one that is over"),)),
    Row("GET", "/known-errors", "known-errors", pages.known_errors),
    Row("POST", "/known-errors", "known-errors.write", pages.add_known_error),
    Row("GET", "/known-errors/{id}", "known-errors", pages.known_error),
    Row("POST", "/known-errors/{id}", "known-errors.write", pages.change_known_error),
    Row("GET", "/reply-templates", "reply-templates", pages.reply_templates),
    Row("POST", "/reply-templates", "reply-templates.write", pages.add_reply_template),
    Row("GET", "/reply-templates/{id}", "reply-templates", pages.reply_template),
    Row("POST", "/reply-templates/{id}", "reply-templates.write", pages.change_reply_template),
    Row("GET", "/reviews", "reviews", pages.review_page),
    Row("POST", "/reviews/{id}", "reviews.write", pages.mark_review),
)  # fmt: skip
