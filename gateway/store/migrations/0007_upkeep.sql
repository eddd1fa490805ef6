-- What lets old rows go in slices, by index.
CREATE INDEX record_outside_received ON record_outside (received);
CREATE INDEX message_received ON message (received);
CREATE INDEX connection_closed ON connection (closed_at) WHERE closed_at IS NOT NULL;
CREATE INDEX outbox_done ON outbox ((coalesce(sent_at, not_before))) WHERE state <> 'pending';
-- What waits for its terminal to be registered is telemetry to be, and is kept as such.
CREATE INDEX quarantine_received ON quarantine (received) WHERE reason <> 'unregistered';
CREATE INDEX quarantine_waiting ON quarantine (received) WHERE reason = 'unregistered';

-- How many records a terminal has in partitions whose week is over: counted once, by the service. What changes there
-- afterwards is noted row by row in the same transaction, and added up from time to time. A partition is part of it
-- while it has a row in `record_counted`.
CREATE TABLE record_counted (
    part        regclass PRIMARY KEY,
    counted_at  timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE record_count (
    part        regclass NOT NULL,
    terminal    integer NOT NULL,
    records     bigint NOT NULL,
    PRIMARY KEY (part, terminal)
);
CREATE TABLE record_late (
    part        regclass NOT NULL,
    terminal    integer NOT NULL,
    records     bigint NOT NULL
);
CREATE INDEX record_late_key ON record_late (part, terminal);

CREATE FUNCTION record_late() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        DELETE FROM record_counted WHERE part = TG_RELID;
    ELSIF TG_OP = 'INSERT' THEN
        INSERT INTO record_late VALUES (TG_RELID, NEW.terminal, 1);
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO record_late VALUES (TG_RELID, OLD.terminal, -1);
    ELSE
        INSERT INTO record_late VALUES (TG_RELID, OLD.terminal, -1), (TG_RELID, NEW.terminal, 1);
    END IF;
    RETURN NULL;
END $$;
