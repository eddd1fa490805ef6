-- Incidents, tickets with their journal, and what is owed to the channels.

-- The watch rereads terminals whose firmware or model changed, whoever changed it.
ALTER TABLE terminal ADD COLUMN changed_at timestamptz NOT NULL DEFAULT now();
CREATE INDEX terminal_changed ON terminal (changed_at);

CREATE FUNCTION terminal_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.changed_at := now();
    RETURN NEW;
END $$;
CREATE TRIGGER terminal_changed BEFORE UPDATE OF protocol, model, model_told, firmware ON terminal
    FOR EACH ROW
    WHEN ((OLD.protocol, OLD.model, OLD.model_told, OLD.firmware)
          IS DISTINCT FROM (NEW.protocol, NEW.model, NEW.model_told, NEW.firmware))
    EXECUTE FUNCTION terminal_changed();

CREATE SEQUENCE ticket_sequence START 1001;  -- `ticketing.numbers` adds the check digit

CREATE TABLE ticket (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    number      text NOT NULL UNIQUE,
    terminal    integer NOT NULL REFERENCES terminal (id),
    kind        text NOT NULL,
    state       text NOT NULL CHECK (state IN ('new', 'in_work', 'waiting_client', 'awaiting_consent', 'closed')),
    title       text NOT NULL,
    zone        text NOT NULL,
    priority    int2 NOT NULL CHECK (priority BETWEEN 1 AND 4),
    opened_at   timestamptz NOT NULL,
    due_at      timestamptz,                -- null: the policy has no such clock
    policy      text NOT NULL,
    owner       text,                       -- who took it last
    consent_at  timestamptz,                -- serves one closing; a relapse voids it
    consent_by  text,
    closed_at   timestamptz,
    evidence    jsonb NOT NULL DEFAULT '{}',
    CHECK ((state = 'closed') = (closed_at IS NOT NULL))
);
-- The queue: open before closed, then priority, deadline, arrival.
CREATE INDEX ticket_queue ON ticket ((state = 'closed'), priority, (coalesce(due_at, 'infinity')), id);
CREATE INDEX ticket_terminal ON ticket (terminal, kind);

-- One open problem of one terminal and kind. The index makes a second one impossible.
CREATE TABLE incident (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    terminal        integer NOT NULL REFERENCES terminal (id),
    kind            text NOT NULL,
    state           text NOT NULL CHECK (state IN ('open', 'closed')),
    ticket          bigint NOT NULL REFERENCES ticket (id) DEFERRABLE INITIALLY DEFERRED,
    opened_at       timestamptz NOT NULL,
    detected_at     timestamptz NOT NULL,   -- when the verdict first failed; opened_at is later by the hold
    last_bad_at     timestamptz NOT NULL,
    last_good_at    timestamptz,            -- first live record since the last failing verdict
    closed_at       timestamptz,
    flaps           integer NOT NULL DEFAULT 0,
    zone            text NOT NULL,
    zone_confidence float4 NOT NULL
);
CREATE UNIQUE INDEX incident_open ON incident (terminal, kind) WHERE state = 'open';
CREATE INDEX incident_latest ON incident (terminal, kind, id DESC);
CREATE INDEX incident_ticket ON incident (ticket);

-- Append-only, each entry chained to the one before by its hash.
CREATE TABLE journal (
    ticket      bigint NOT NULL REFERENCES ticket (id),
    seq         integer NOT NULL,
    at          timestamptz NOT NULL,
    actor       text NOT NULL,
    action      text NOT NULL,
    text        text NOT NULL,
    state       text NOT NULL,              -- after it
    prev_hash   bytea NOT NULL,
    hash        bytea NOT NULL,
    PRIMARY KEY (ticket, seq)
);

-- SHA-256 over the hash before and the fields as netstrings (octets ":" value ","), `at` in microseconds.
CREATE FUNCTION journal_hash(prev bytea, VARIADIC fields text[]) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT sha256(prev || convert_to(string_agg(octet_length(f) || ':' || f || ',', '' ORDER BY n), 'UTF8'))
    FROM unnest(fields) WITH ORDINALITY AS u(f, n)
$$;

CREATE FUNCTION journal_chain() RETURNS trigger LANGUAGE plpgsql AS $$
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
    NEW.hash := journal_hash(NEW.prev_hash, NEW.seq::text, (extract(epoch FROM NEW.at) * 1000000)::bigint::text,
                             NEW.actor, NEW.action, NEW.text, NEW.state);
    RETURN NEW;
END $$;
CREATE TRIGGER journal_chain BEFORE INSERT ON journal FOR EACH ROW EXECUTE FUNCTION journal_chain();

CREATE FUNCTION journal_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the journal is append-only' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER journal_append_only BEFORE UPDATE OR DELETE ON journal
    FOR EACH ROW EXECUTE FUNCTION journal_append_only();
CREATE TRIGGER journal_no_truncate BEFORE TRUNCATE ON journal
    FOR EACH STATEMENT EXECUTE FUNCTION journal_append_only();

-- Written in the ticket's own transaction; the key keeps an event from being told twice on one channel.
CREATE TABLE outbox (
    id          uuid PRIMARY KEY,           -- what the receiver sees, the same on every attempt
    dedupe_key  text NOT NULL UNIQUE,
    channel     text NOT NULL,              -- email, webhook
    target      text NOT NULL,              -- which of them: the webhook's URL
    ticket      bigint NOT NULL REFERENCES ticket (id),
    event       text NOT NULL,
    body        text NOT NULL,              -- JSON, frozen: a repeat is the same
    state       text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'sent', 'failed')),
    created_at  timestamptz NOT NULL,
    not_before  timestamptz NOT NULL,
    lease_until timestamptz,                -- somebody is sending it until then
    attempts    integer NOT NULL DEFAULT 0,
    sent_at     timestamptz,
    provider_id text,
    last_error  text
);
CREATE INDEX outbox_due ON outbox (channel, target, not_before) WHERE state = 'pending';
CREATE INDEX outbox_ticket ON outbox (ticket);
