-- What is known of faults, and what of it was suggested, read and of help with a ticket; replies in ready words; what was
-- written to clients, looked at by sample.

CREATE TABLE known_error (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    symptom     text NOT NULL,
    cause       text NOT NULL DEFAULT '',
    workaround  text NOT NULL DEFAULT '',
    link        text,                           -- into documentation
    kind        text,                           -- of incident; null, as the two below: any
    protocol    text,
    model       text,
    public      boolean NOT NULL DEFAULT false, -- clients and crews see it too
    active      boolean NOT NULL DEFAULT true,
    ticket      bigint REFERENCES ticket (id),  -- that it was learned from
    words       tsvector NOT NULL DEFAULT '',   -- of symptom (A), cause (B) and workaround (C), as `tickets.known` folds them
    created_by  text NOT NULL,
    created_at  timestamptz NOT NULL,
    row_version integer NOT NULL DEFAULT 1
);
CREATE INDEX known_error_words ON known_error USING gin (words) WHERE active;
CREATE UNIQUE INDEX known_error_ticket ON known_error (ticket) WHERE ticket IS NOT NULL;

CREATE TABLE suggestion (
    ticket      bigint NOT NULL REFERENCES ticket (id),
    known_error bigint NOT NULL REFERENCES known_error (id),
    suggested_at timestamptz,                   -- null: somebody found it by himself
    read_at     timestamptz,
    read_by     text,
    helped_at   timestamptz,
    helped_by   text,
    PRIMARY KEY (ticket, known_error)
);
CREATE INDEX suggestion_known_error ON suggestion (known_error);

CREATE TABLE reply_template (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        text NOT NULL,
    language    text NOT NULL CHECK (language IN ('en', 'ru', 'zh')),
    text        text NOT NULL,                  -- {variables} of `quality.reply_templates`
    active      boolean NOT NULL DEFAULT true,
    created_by  text NOT NULL,
    created_at  timestamptz NOT NULL,
    row_version integer NOT NULL DEFAULT 1
);
CREATE UNIQUE INDEX reply_template_name ON reply_template (language, lower(name));

-- Of each month whose tickets' letters were drawn from: how much each person wrote, and how much of it is to be looked at.
CREATE TABLE review_month (
    month       text PRIMARY KEY,               -- 2026-03, in the zone of the desk's policy
    drawn_at    timestamptz NOT NULL
);
CREATE TABLE review_share (
    month       text NOT NULL REFERENCES review_month (month),
    engineer    text NOT NULL,
    messages    integer NOT NULL,
    wanted      integer NOT NULL,
    PRIMARY KEY (month, engineer)
);
CREATE TABLE review (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    month       text NOT NULL REFERENCES review_month (month),
    engineer    text NOT NULL,
    message     bigint NOT NULL UNIQUE REFERENCES ticket_message (id),
    marked_at   timestamptz,                    -- null: nobody looked yet
    marked_by   text,
    criteria    jsonb NOT NULL DEFAULT '{}',
    passed      boolean,
    note        text NOT NULL DEFAULT ''
);
CREATE INDEX review_engineer ON review (month, engineer);
