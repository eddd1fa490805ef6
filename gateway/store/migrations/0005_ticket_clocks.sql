-- A ticket keeps the rules that it was opened under: each version of a policy or calendar is stored once, whole.

CREATE FUNCTION append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the table % is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;

CREATE TABLE policy_version (
    version     text PRIMARY KEY,           -- name@number and a digest of the content
    content     jsonb NOT NULL
);
CREATE TABLE calendar_version (
    version     text PRIMARY KEY,           -- name and a digest of the content
    content     jsonb NOT NULL
);

-- Tickets of before have neither: they keep the due time that they were opened with.
ALTER TABLE ticket
    ADD COLUMN policy_version text REFERENCES policy_version (version),
    ADD COLUMN calendar_version text REFERENCES calendar_version (version),     -- null: a clock in real time, or none
    ADD COLUMN clock_check_at timestamptz;  -- when the watch looks at its clock next; null: nothing will come by itself
CREATE INDEX ticket_clock_check ON ticket (clock_check_at) WHERE clock_check_at IS NOT NULL;

-- A share of the budget that was used up, told once.
CREATE TABLE clock_warning (
    ticket      bigint NOT NULL REFERENCES ticket (id),
    clock       text NOT NULL,
    cycle       integer NOT NULL,           -- 1 from the opening; each reopening begins the next
    percent     int2 NOT NULL,
    reached_at  timestamptz NOT NULL,
    PRIMARY KEY (ticket, clock, cycle, percent)
);

-- A broken promise: a permanent fact, with what was said of it at that moment.
CREATE TABLE breach (
    ticket      bigint NOT NULL REFERENCES ticket (id),
    clock       text NOT NULL,
    cycle       integer NOT NULL,
    policy      text NOT NULL,              -- name@number/clock
    due         timestamptz NOT NULL,
    explained   text NOT NULL,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (ticket, clock, cycle, policy)
);

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON policy_version FOR EACH ROW EXECUTE FUNCTION append_only();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON calendar_version FOR EACH ROW EXECUTE FUNCTION append_only();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON clock_warning FOR EACH ROW EXECUTE FUNCTION append_only();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON breach FOR EACH ROW EXECUTE FUNCTION append_only();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON breach FOR EACH STATEMENT EXECUTE FUNCTION append_only();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON policy_version FOR EACH STATEMENT EXECUTE FUNCTION append_only();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON calendar_version FOR EACH STATEMENT EXECUTE FUNCTION append_only();
