-- Commands to terminals: queued → sent → done | failed; expired. What a command may become stands in `ticketing.commands`.
CREATE TABLE command (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    terminal    integer NOT NULL REFERENCES terminal ON DELETE CASCADE,
    protocol    text NOT NULL,              -- it was sent by, before that the terminal's; empty: not known yet
    key         text,                       -- the client's own: the same one again is the same command
    text        text NOT NULL,
    repeat      boolean NOT NULL,           -- may be sent again on a later connection while unanswered
    state       text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'sent', 'done', 'failed', 'expired')),
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_by  text NOT NULL,
    expires_at  timestamptz NOT NULL,
    sent_at     timestamptz,
    connection  bigint,                     -- it was sent on last
    finished_at timestamptz,
    result      text,                       -- the terminal's answer
    reason      text,                       -- why it failed or expired
    UNIQUE (terminal, key)
);
CREATE INDEX command_terminal ON command (terminal, id);
CREATE INDEX command_open ON command (terminal, id) WHERE state IN ('queued', 'sent');
CREATE INDEX command_expires ON command (expires_at) WHERE state IN ('queued', 'sent');
CREATE INDEX command_finished ON command (finished_at) WHERE finished_at IS NOT NULL;

-- Which connections a terminal has now: a command goes out on the newest.
CREATE INDEX connection_of_terminal ON connection (terminal) WHERE closed_at IS NULL;

-- How many ever came into each state: retention takes none of them back.
CREATE TABLE command_count (
    protocol    text NOT NULL,
    state       text NOT NULL,
    count       bigint NOT NULL,
    PRIMARY KEY (protocol, state)
);

-- Counts, and tells every receiving process of a new one: NOTIFY dozor_command, 'terminal'. In one order, lest two
-- statements about several commands wait for one another.
CREATE FUNCTION command_queued() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO command_count AS c (protocol, state, count)
        SELECT protocol, state, count(*) FROM changed GROUP BY protocol, state ORDER BY protocol, state
        ON CONFLICT (protocol, state) DO UPDATE SET count = c.count + excluded.count;
    PERFORM pg_notify('dozor_command', t.identity)
        FROM (SELECT DISTINCT terminal FROM changed) n JOIN terminal t ON t.id = n.terminal;
    RETURN NULL;
END $$;
CREATE FUNCTION command_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO command_count AS c (protocol, state, count)
        SELECT n.protocol, n.state, count(*) FROM changed n JOIN was o USING (id) WHERE n.state <> o.state
        GROUP BY n.protocol, n.state ORDER BY n.protocol, n.state
        ON CONFLICT (protocol, state) DO UPDATE SET count = c.count + excluded.count;
    RETURN NULL;
END $$;
CREATE TRIGGER command_queued AFTER INSERT ON command REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION command_queued();
CREATE TRIGGER command_moved AFTER UPDATE ON command REFERENCING NEW TABLE AS changed OLD TABLE AS was
    FOR EACH STATEMENT EXECUTE FUNCTION command_moved();
