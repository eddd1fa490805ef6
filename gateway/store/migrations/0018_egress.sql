-- Egress: which records each transaction stored, for consumers to follow. All of it is empty, and nothing is written to
-- it, where no egress was ever configured.

-- Numbers a transaction takes before it stores anything. It has been called once, so that a number taken later is above
-- whatever `last_value` was read before.
CREATE SEQUENCE egress_number;
SELECT nextval('egress_number');

CREATE TABLE egress_batch (
    number    bigint NOT NULL DEFAULT currval('egress_number'),
    part      smallint NOT NULL,            -- 0: by plain COPY, 1 and 2: through staging, inside and outside
    stored_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    keys      bytea NOT NULL,               -- 20 bytes a record, in order: terminal int4, time as timestamptz_send, fingerprint int8
    PRIMARY KEY (number, part)
);
ALTER TABLE egress_batch ALTER keys SET STORAGE EXTERNAL;  -- mostly digests: compressing costs time and gains little

-- Where a consumer stands. First all records of the terminals up to `history_last`, one by one, where what was stored
-- before is wanted; then the batches. No clock plays a part: one that was wrong must not cost a record.
CREATE TABLE egress_cursor (
    id            integer GENERATED ALWAYS AS IDENTITY UNIQUE,  -- of the advisory lock that its holder has
    name          text PRIMARY KEY CHECK (char_length(name) BETWEEN 1 AND 64),
    client        uuid NOT NULL DEFAULT gen_random_uuid(),      -- by which a consumer knows all services on this store as one
    number        bigint NOT NULL,          -- of the first batch that is not done with
    place         integer NOT NULL DEFAULT 0,   -- so many records of it, or of the history's first part, are
    history_last  integer,                  -- null: there is none to send, or it was sent
    history_after integer NOT NULL DEFAULT 0,   -- the last terminal that was begun
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at       timestamptz NOT NULL DEFAULT clock_timestamp(),   -- when a service last had it configured
    sent          bigint NOT NULL DEFAULT 0,
    lost          bigint NOT NULL DEFAULT 0     -- records that retention dropped before they were sent
);

-- What is left of the terminal whose history is being sent.
CREATE TABLE egress_history (
    name text NOT NULL REFERENCES egress_cursor ON DELETE CASCADE,
    part bigint NOT NULL,
    keys bytea NOT NULL,
    PRIMARY KEY (name, part)
);

-- Whose records a consumer has taken: one whose records nobody takes any more has lost its reader, one whose records
-- nobody ever took has none.
CREATE TABLE egress_taker (
    name     text NOT NULL REFERENCES egress_cursor ON DELETE CASCADE,
    terminal integer NOT NULL,
    PRIMARY KEY (name, terminal)
);

-- Records that a consumer refused for themselves: they hold up nobody, and are offered again.
CREATE TABLE egress_aside (
    name    text NOT NULL REFERENCES egress_cursor ON DELETE CASCADE,
    key     bytea NOT NULL,
    reason  text NOT NULL,
    tries   integer NOT NULL DEFAULT 1,
    next_at timestamptz NOT NULL,
    PRIMARY KEY (name, key)
);
CREATE INDEX egress_aside_next ON egress_aside (name, next_at);

-- A transaction in flight holds a shared lock whose number is below its own, from before it took that until after its
-- rows can be seen. The numbers lie in a class of their own: 0x646F ("do") and 48 bits.
-- `keys` of what the transaction is about to store, if it knows them beforehand.
CREATE FUNCTION egress_begin(keys bytea DEFAULT NULL) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared((25711::bigint << 48) | (SELECT last_value FROM egress_number));
    PERFORM nextval('egress_number');
    PERFORM set_config('dozor.egress', 'told', true);
    IF keys IS NOT NULL THEN
        INSERT INTO egress_batch (part, keys) VALUES (0, egress_begin.keys);
    END IF;
END $$;

-- Up to which number everything has been committed or given up. The sequence is read first: who takes a number after
-- that is above it, who took one before and is not finished is seen by its lock.
CREATE FUNCTION egress_settled() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    taken  bigint;
    oldest bigint;
BEGIN
    SELECT last_value INTO taken FROM egress_number;
    SELECT min((classid::bigint & 65535) << 32 | objid::bigint) INTO oldest FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND classid::bigint >> 16 = 25711
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database());
    RETURN least(taken, oldest);
END $$;

-- While there is a consumer, nobody stores a record without telling: a process that has not heard of it is refused, and
-- then tells. The triggers are made with the first consumer (`gateway.store.cursors`).
CREATE FUNCTION egress_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('dozor.egress', true) IS DISTINCT FROM 'told' AND EXISTS (SELECT FROM egress_cursor) THEN
        RAISE EXCEPTION 'records are passed on (egress), and this statement does not tell which it stores'
            USING ERRCODE = 'DZ001', HINT = 'SELECT egress_begin() first, in the same transaction, and add the new '
            'rows'' keys to egress_batch; rows that nobody shall be sent need the first only.';
    END IF;
    RETURN NULL;
END $$;
