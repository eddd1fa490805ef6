-- Tickets of people beside those of the watch: states, clocks, threads, letters, mail, tasks.

ALTER TABLE ticket DROP CONSTRAINT ticket_state_check;
ALTER TABLE ticket
    ADD CONSTRAINT ticket_state_check CHECK (state IN ('new', 'in_work', 'waiting_client', 'waiting_vendor', 'visit',
        'deferred', 'recovering', 'awaiting_consent', 'closed')),
    ADD COLUMN channel         text NOT NULL DEFAULT 'monitoring'
        CHECK (channel IN ('portal', 'web', 'mail', 'phone', 'paper', 'api', 'monitoring')),
    ADD COLUMN organisation    bigint REFERENCES organisation (id),
    ADD COLUMN vehicle         bigint REFERENCES vehicle (id),
    ADD COLUMN reporter        bigint REFERENCES contact (id),
    ADD COLUMN sender          text,                        -- address or phone of one who is no contact
    ADD COLUMN class           text CHECK (class IN ('network', 'hardware', 'software', 'consulting')),
    ADD COLUMN topic           text NOT NULL DEFAULT 'technical'
        CHECK (topic IN ('technical', 'finance', 'warranty', 'letter', 'call-back')),
    ADD COLUMN component       text,
    ADD COLUMN client_priority int2,
    ADD COLUMN priority_reason text,
    ADD COLUMN jump            boolean NOT NULL DEFAULT false,  -- before its rank, with a reason in the journal
    ADD COLUMN rank            integer NOT NULL DEFAULT 0,      -- its channel's
    ADD COLUMN tier            integer NOT NULL DEFAULT 1,
    ADD COLUMN team            text,
    ADD COLUMN plan            text,
    ADD COLUMN verified        boolean NOT NULL DEFAULT true,
    ADD COLUMN details         jsonb NOT NULL DEFAULT '{}',     -- description, steps, frequency, server, version, criticality …
    ADD COLUMN missing         text[] NOT NULL DEFAULT '{}',
    ADD COLUMN qualified       boolean NOT NULL DEFAULT false,
    ADD COLUMN received_at     timestamptz,                     -- of paper: earlier than opened_at
    ADD COLUMN eta_at          timestamptz,
    ADD COLUMN eta_basis       text,
    ADD COLUMN eta_version     integer NOT NULL DEFAULT 0,
    ADD COLUMN deferral        jsonb,                           -- code, until, proof
    ADD COLUMN vendor          jsonb,                           -- system, case
    ADD COLUMN resumed_at      timestamptz,                     -- an answer puts it at the head of its rank
    ADD COLUMN cycle           integer NOT NULL DEFAULT 1,
    ADD COLUMN consent_means   text,
    ADD COLUMN ended           text,                            -- how it was closed: consent, deemed, merged, withdrawn
    ADD COLUMN merged_into     bigint REFERENCES ticket (id),
    ADD COLUMN price           jsonb,
    ADD COLUMN said_at         timestamptz,                     -- the last public word, and whose it was
    ADD COLUMN said_by         text,
    ADD COLUMN due_clock       text,                            -- whose due_at is
    ADD COLUMN language        text,
    ADD COLUMN queue_key       text COLLATE "C",                -- its place among those to work on; null: waits, or is closed
    ADD COLUMN row_version     integer NOT NULL DEFAULT 1;
CREATE INDEX ticket_work ON ticket (queue_key) WHERE queue_key IS NOT NULL;
DROP INDEX ticket_queue;     -- open before closed, then whose turn it is, then who waits; arrival
CREATE INDEX ticket_queue ON ticket ((state = 'closed'), (coalesce(queue_key, '~')), id);
CREATE INDEX ticket_state ON ticket (state, id) WHERE state <> 'closed';
CREATE INDEX ticket_organisation ON ticket (organisation, id DESC);
CREATE INDEX ticket_vehicle ON ticket (vehicle) WHERE vehicle IS NOT NULL;
CREATE INDEX ticket_owner ON ticket (owner) WHERE state <> 'closed';
CREATE INDEX ticket_reporter ON ticket (reporter) WHERE reporter IS NOT NULL;

CREATE TABLE ticket_link (
    parent      bigint NOT NULL REFERENCES ticket (id),
    child       bigint NOT NULL REFERENCES ticket (id),
    kind        text NOT NULL CHECK (kind IN ('parent', 'duplicate', 'split-from', 'follow-up')),
    PRIMARY KEY (parent, child, kind),
    CHECK (parent <> child)
);
CREATE INDEX ticket_link_child ON ticket_link (child);

-- Codes, not sentences: what was done and with what; `text` is only what people typed. Entries of before keep their
-- version, 1, and their hash; the hash of later ones covers version and data too.
ALTER TABLE journal
    ADD COLUMN version  int2 NOT NULL DEFAULT 1,
    ADD COLUMN data     jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN id       bigint GENERATED ALWAYS AS IDENTITY;    -- in order of writing: what is new since one looked
CREATE UNIQUE INDEX journal_id ON journal (id);
CREATE OR REPLACE FUNCTION journal_chain() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    number text;
BEGIN
    -- The row lock orders the entries of one ticket.
    SELECT t.number INTO STRICT number FROM ticket t WHERE t.id = NEW.ticket FOR UPDATE;
    SELECT j.seq + 1, j.hash INTO NEW.seq, NEW.prev_hash
        FROM journal j WHERE j.ticket = NEW.ticket ORDER BY j.seq DESC LIMIT 1;
    IF NOT FOUND THEN
        NEW.seq := 1;
        NEW.prev_hash := sha256(convert_to(number, 'UTF8'));
    END IF;
    IF NEW.version = 1 THEN
        NEW.hash := journal_hash(NEW.prev_hash, NEW.seq::text,
                                 (extract(epoch FROM NEW.at) * 1000000)::bigint::text,
                                 NEW.actor, NEW.action, NEW.text, NEW.state);
    ELSE
        NEW.hash := journal_hash(NEW.prev_hash, NEW.seq::text,
                                 (extract(epoch FROM NEW.at) * 1000000)::bigint::text,
                                 NEW.actor, NEW.action, NEW.text, NEW.state, NEW.version::text, NEW.data::text);
    END IF;
    RETURN NEW;
END $$;

-- What was said, to and fro; notes are messages that are not public.
CREATE TABLE ticket_message (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ticket      bigint NOT NULL REFERENCES ticket (id),
    at          timestamptz NOT NULL,
    direction   text NOT NULL CHECK (direction IN ('in', 'out', 'note')),
    public      boolean NOT NULL,
    author      text NOT NULL,                  -- user, contact's name, address; watch
    contact     bigint REFERENCES contact (id),
    recipients  text[] NOT NULL DEFAULT '{}',
    subject     text NOT NULL DEFAULT '',
    text        text NOT NULL,
    html        text,                           -- cleaned
    channel     text NOT NULL,
    machine     boolean NOT NULL DEFAULT false, -- filed quietly
    message_id  text,                           -- of mail
    inbox       bigint,
    letter_kind text                            -- the letters that carried it, if any
);
CREATE INDEX ticket_message_ticket ON ticket_message (ticket, id);
CREATE INDEX ticket_message_message_id ON ticket_message (message_id) WHERE message_id IS NOT NULL;

-- Stored once by content, never served inline.
CREATE TABLE blob (
    sha256      bytea PRIMARY KEY,
    size        integer NOT NULL,
    type        text NOT NULL,                  -- by content, not by name
    content     bytea NOT NULL,
    created_at  timestamptz NOT NULL
);
CREATE TABLE attachment (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message     bigint NOT NULL REFERENCES ticket_message (id),
    sha256      bytea NOT NULL REFERENCES blob (sha256),
    name        text NOT NULL
);
CREATE INDEX attachment_message ON attachment (message);

CREATE TABLE task (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ticket      bigint REFERENCES ticket (id),
    key         text NOT NULL UNIQUE,           -- each at most once
    kind        text NOT NULL,                  -- call, loan-unit, swap, new-eta, recheck, review, inspection …
    data        jsonb NOT NULL DEFAULT '{}',
    created_at  timestamptz NOT NULL,
    due_at      timestamptz,
    done_at     timestamptz,
    done_by     text,
    outcome     text
);
CREATE INDEX task_ticket ON task (ticket);
CREATE INDEX task_open ON task (due_at) WHERE done_at IS NULL;

CREATE TABLE precheck (
    ticket      bigint NOT NULL REFERENCES ticket (id),
    name        text NOT NULL,
    result      text NOT NULL CHECK (result IN ('green', 'red', 'unknown', 'waived')),
    at          timestamptz NOT NULL,
    waived_by   text,
    reason      text,
    data        jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (ticket, name)
);

-- A letter is a row: one recipient, one language, frozen bytes; or nobody was told, and why.
CREATE TABLE letter (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key         text NOT NULL UNIQUE,           -- each at most once
    ticket      bigint REFERENCES ticket (id),
    outage      bigint,
    kind        text NOT NULL,
    n           integer NOT NULL,               -- from 1 by ticket (or outage) and kind
    contact     bigint REFERENCES contact (id),
    address     text NOT NULL,                  -- empty: nobody was told, `untold` says why
    language    text NOT NULL,
    subject     text NOT NULL,
    message_id  text,
    auto        boolean NOT NULL,               -- nobody typed it
    raw         bytea,                          -- frozen when first due
    data        jsonb NOT NULL DEFAULT '{}',    -- what it says, before it is frozen
    state       text NOT NULL CHECK (state IN ('owed', 'sent', 'deferred', 'refused', 'bounced', 'untold', 'digested')),
    untold      text,
    created_at  timestamptz NOT NULL,
    not_before  timestamptz NOT NULL,
    lease_until timestamptz,
    attempts    integer NOT NULL DEFAULT 0,
    sent_at     timestamptz,
    provider_id text,
    last_error  text
);
CREATE INDEX letter_due ON letter (not_before) WHERE state IN ('owed', 'deferred');
CREATE INDEX letter_ticket ON letter (ticket, id);
CREATE INDEX letter_address ON letter (address, created_at) WHERE auto;
CREATE INDEX letter_message_id ON letter (message_id) WHERE message_id IS NOT NULL;

-- What a button of a letter may do, once.
CREATE TABLE letter_token (
    digest      bytea PRIMARY KEY,
    letter      bigint NOT NULL REFERENCES letter (id),
    ticket      bigint NOT NULL REFERENCES ticket (id),
    contact     bigint REFERENCES contact (id),
    cycle       integer NOT NULL,
    expires_at  timestamptz NOT NULL,
    used_at     timestamptz,
    button      text                            -- that was pressed
);
CREATE INDEX letter_token_letter ON letter_token (letter);

-- Mail comes in raw first, and is judged afterwards.
CREATE TABLE inbox (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id  text NOT NULL,                  -- empty: it has none
    sha256      bytea NOT NULL,                 -- of the body
    source      text NOT NULL,                  -- mailbox or lmtp
    envelope_from text,
    envelope_to text[] NOT NULL DEFAULT '{}',
    raw         bytea NOT NULL,
    received_at timestamptz NOT NULL,
    verdict     text,                           -- null: not judged yet
    step        text,                           -- that spoke
    reason      text,
    ticket      bigint REFERENCES ticket (id),
    judged_at   timestamptz,
    judged_by   text,
    judge_at    timestamptz,                    -- when to judge (again); null: done
    attempts    integer NOT NULL DEFAULT 0,
    UNIQUE (message_id, sha256)
);
CREATE INDEX inbox_judge ON inbox (judge_at) WHERE judge_at IS NOT NULL;
CREATE INDEX inbox_held ON inbox (id) WHERE verdict = 'held';
-- Up to where a mailbox was read: by UID, never by flags.
CREATE TABLE mailbox_position (
    mailbox     text PRIMARY KEY,
    uidvalidity bigint NOT NULL,
    uid         bigint NOT NULL
);

CREATE TABLE outage (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key         text NOT NULL,
    started_at  timestamptz NOT NULL,
    ended_at    timestamptz,
    eta         timestamptz,
    eta_version integer NOT NULL DEFAULT 0,
    terminals   integer[],                      -- null: all
    told_at     timestamptz,                    -- the first letters
    data        jsonb NOT NULL DEFAULT '{}'
);
CREATE UNIQUE INDEX outage_open ON outage (key) WHERE ended_at IS NULL;
ALTER TABLE letter ADD CONSTRAINT letter_outage FOREIGN KEY (outage) REFERENCES outage (id);

-- When a part of the engine looks at something next: it asks then, and changes by comparing.
CREATE TABLE due (
    module      text NOT NULL,
    subject     bigint NOT NULL,                -- a ticket, mostly
    at          timestamptz NOT NULL,
    attempts    integer NOT NULL DEFAULT 0,     -- that failed, since the last that did not
    PRIMARY KEY (module, subject)
);
CREATE INDEX due_at ON due (module, at);
