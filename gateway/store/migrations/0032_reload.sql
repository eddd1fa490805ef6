-- Archives that are asked of terminals again, one after the other, at night; recordings of calls, and who may hear them.

-- What the queue is locked by: its jobs are begun and followed by one engine at a time, whoever asks for more meanwhile.
CREATE TABLE reload_queue (
    id          bigint PRIMARY KEY CHECK (id = 1)
);
INSERT INTO reload_queue VALUES (1);

-- queued → running → done | failed; cancelled. What is not done in a night is queued again, at its place.
CREATE TABLE reload (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ticket      bigint NOT NULL REFERENCES ticket (id),
    terminal    integer NOT NULL REFERENCES terminal ON DELETE CASCADE,
    since       timestamptz NOT NULL,           -- of records' own times
    until       timestamptz NOT NULL,
    text        text NOT NULL DEFAULT '',       -- the command, where somebody gave his own; empty: the protocol's
    state       text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled')),
    asked_at    timestamptz NOT NULL,
    asked_by    text NOT NULL,
    not_before  timestamptz NOT NULL,           -- its next night
    nights      integer NOT NULL DEFAULT 0,     -- that did not do
    command     bigint REFERENCES command (id) ON DELETE SET NULL,     -- of this night
    begun_at    timestamptz,                    -- first
    tried_at    timestamptz,                    -- this night
    moved_at    timestamptz,                    -- when records were seen to come last
    ran         interval NOT NULL DEFAULT '0',  -- in nights before
    share       float8 NOT NULL DEFAULT 0,        -- of the span's slices that hold records
    records     bigint NOT NULL DEFAULT 0,      -- that came since it was begun
    finished_at timestamptz,
    reason      text,
    CHECK (since < until),
    CHECK ((state = 'running') = (tried_at IS NOT NULL)),
    CHECK ((state IN ('queued', 'running')) = (finished_at IS NULL))
);
CREATE INDEX reload_open ON reload (id) WHERE finished_at IS NULL;
CREATE UNIQUE INDEX reload_running ON reload (terminal) WHERE state = 'running';
CREATE INDEX reload_ticket ON reload (ticket, id);

-- A link, or a file that came with a message of the ticket and is in that message no more; null both: its time is over.
CREATE TABLE recording (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ticket      bigint NOT NULL REFERENCES ticket (id),
    link        text,
    file        bytea REFERENCES blob (sha256),
    name        text NOT NULL DEFAULT '',       -- of the file
    consent     boolean NOT NULL,               -- the caller agreed to be recorded
    called_at   timestamptz NOT NULL,
    until       timestamptz NOT NULL,
    created_at  timestamptz NOT NULL,
    created_by  text NOT NULL,
    erased_at   timestamptz,
    CHECK (num_nonnulls(link, file) = CASE WHEN erased_at IS NULL THEN 1 ELSE 0 END)
);
CREATE INDEX recording_ticket ON recording (ticket, id);
CREATE INDEX recording_until ON recording (until) WHERE erased_at IS NULL;
CREATE INDEX recording_file ON recording (file) WHERE file IS NOT NULL;
CREATE INDEX attachment_file ON attachment (sha256);
