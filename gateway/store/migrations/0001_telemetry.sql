-- Terminals, their records by columns, and what could not become a record.

CREATE TABLE terminal (
    id          integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    identity    text NOT NULL UNIQUE CHECK (char_length(identity) BETWEEN 1 AND 64),
    protocol    text,                       -- the last one it spoke, or the registered one
    model       text,                       -- set by people: counts where the terminal tells none
    model_told  text,                       -- told by the terminal
    firmware    text,
    name        text,
    created_at  timestamptz NOT NULL DEFAULT now()
);

-- A layout is the tuple of measure names that records of one device configuration share.
CREATE TABLE layout (
    id          integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    names       text[] NOT NULL,
    terminal    integer NOT NULL,           -- who brought it first: invented names are bounded per terminal
    UNIQUE (names)
);

-- Columns as the wire has them: NaN, -1 and -32768 stand for "not told" so that rows keep a fixed width in COPY.
CREATE TABLE record_outside (
    terminal    integer NOT NULL,
    time        timestamptz NOT NULL,
    received    timestamptz NOT NULL,
    lat         float8 NOT NULL,
    lon         float8 NOT NULL,
    altitude    float4 NOT NULL,
    speed       float4 NOT NULL,
    course      float4 NOT NULL,
    satellites  int2 NOT NULL,
    flags       int2 NOT NULL,
    layout      integer NOT NULL,
    fingerprint bigint NOT NULL,
    measures    float8[] NOT NULL,
    extra       jsonb
);

CREATE UNIQUE INDEX record_outside_key ON record_outside (terminal, time, fingerprint);

-- `record` by weeks: a hypertable where TimescaleDB is there, native range partitions (made by the service) elsewhere.
-- `record_outside` holds what is dated outside [now - 3 years, now + 2 days]: no invented date makes a partition.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
        CREATE TABLE record (LIKE record_outside);
        PERFORM create_hypertable('record', 'time', chunk_time_interval => interval '7 days',
                                  create_default_indexes => false);
    ELSE
        CREATE TABLE record (LIKE record_outside) PARTITION BY RANGE (time);
    END IF;
END $$;
CREATE UNIQUE INDEX record_key ON record (terminal, time, fingerprint);

CREATE TABLE quarantine (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received    timestamptz NOT NULL,
    terminal    text NOT NULL,              -- identity as text: it may not be registered
    protocol    text NOT NULL,
    reason      text NOT NULL,              -- "unregistered": waits for `dozor terminal add`
    variant     int2 NOT NULL DEFAULT 0,
    digest      bytea NOT NULL,             -- of identity, protocol and data: a resend is not kept twice
    data        bytea NOT NULL,
    UNIQUE (digest)
);
CREATE INDEX quarantine_terminal ON quarantine (terminal, id);

-- Answers to commands, drivers' messages, Codec 13 data: evidence, no rows in telemetry.
CREATE TABLE message (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received    timestamptz NOT NULL,
    terminal    text NOT NULL,
    protocol    text NOT NULL,
    kind        text NOT NULL,
    body        text,
    digest      bytea NOT NULL UNIQUE,      -- of all of it: a transaction repeated after a lost answer adds nothing
    data        bytea NOT NULL
);
CREATE INDEX message_terminal ON message (terminal, id);

CREATE TABLE connection (
    id          bigint PRIMARY KEY,         -- given by the gateway, so that opening and closing can be told in batches
    terminal    text NOT NULL,
    protocol    text NOT NULL,
    address     text NOT NULL,
    opened_at   timestamptz NOT NULL,
    closed_at   timestamptz,
    frames      bigint NOT NULL DEFAULT 0,
    malformed   bigint NOT NULL DEFAULT 0,
    reason      text                        -- why it ended
);
CREATE INDEX connection_terminal ON connection (terminal, id);

-- The gateway's own listening time and state across restarts, one row a key.
CREATE TABLE gateway_state (
    key         text PRIMARY KEY,
    value       bytea NOT NULL,
    saved_at    timestamptz NOT NULL DEFAULT now()
);

-- jsonb of one record's measures: numbers by layout (NaN = not told), texts and large integers from `extra`.
CREATE FUNCTION record_measures(names text[], measures float8[], extra jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce((SELECT jsonb_object_agg(n, v) FROM unnest(names, measures) AS m(n, v) WHERE v <> 'NaN'), '{}')
        || coalesce(extra, '{}')
$$;

-- measure(record, 'fuel.level.1'): one number without building the whole object (record alone is a type of SQL, so it is qualified).
CREATE FUNCTION measure(r public.record, name text) RETURNS float8
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT nullif(r.measures[array_position(l.names, name)], 'NaN') FROM layout l WHERE l.id = r.layout
$$;
CREATE FUNCTION measure(r record_outside, name text) RETURNS float8
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT nullif(r.measures[array_position(l.names, name)], 'NaN') FROM layout l WHERE l.id = r.layout
$$;

CREATE VIEW telemetry AS
SELECT t.identity AS terminal, r.time, r.received,
       nullif(r.lat, 'NaN') AS lat, nullif(r.lon, 'NaN') AS lon,
       nullif(r.altitude, 'NaN') AS altitude, nullif(r.speed, 'NaN') AS speed, nullif(r.course, 'NaN') AS course,
       nullif(r.satellites, -1::int2) AS satellites,
       r.flags & 1 <> 0 AS valid, r.flags & 16 <> 0 AS archive,
       record_measures(l.names, r.measures, r.extra) AS measures
FROM (SELECT * FROM record UNION ALL SELECT * FROM record_outside) r
JOIN terminal t ON t.id = r.terminal
JOIN layout l ON l.id = r.layout;
