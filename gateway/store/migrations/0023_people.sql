-- Whom the desk serves: organisations under contract, their people and vehicles; what the desk's own people are.

CREATE TABLE organisation (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name            text NOT NULL,
    language        text NOT NULL DEFAULT 'en' CHECK (language IN ('en', 'ru', 'zh')),
    time_zone       text,                       -- null: the policy's
    policy          text,                       -- name or name@version; null: the desk's
    plan            text,                       -- a plan of that policy; null: the lowest
    contract        jsonb NOT NULL DEFAULT '{}',
    project_manager text,                       -- users, by name
    engineers       text[] NOT NULL DEFAULT '{}',
    profile         text NOT NULL DEFAULT '',
    active          boolean NOT NULL DEFAULT true,
    created_at      timestamptz NOT NULL,
    row_version     integer NOT NULL DEFAULT 1
);
CREATE UNIQUE INDEX organisation_name ON organisation (lower(name));

CREATE TABLE contact (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation    bigint NOT NULL REFERENCES organisation (id),
    name            text NOT NULL,
    emails          text[] NOT NULL DEFAULT '{}',   -- lower case
    phones          text[] NOT NULL DEFAULT '{}',   -- + and digits
    language        text CHECK (language IN ('en', 'ru', 'zh')),    -- null: the organisation's
    quiet_hours     text,                           -- "22:00-07:00" in the organisation's zone
    roles           text[] NOT NULL DEFAULT '{}',   -- reporter, duty, outage, finance …
    code_word       text,                           -- argon2id
    code_failures   integer NOT NULL DEFAULT 0,
    code_failed_at  timestamptz,
    bounced         jsonb NOT NULL DEFAULT '{}',    -- address -> why nothing is sent there
    active          boolean NOT NULL DEFAULT true,
    created_at      timestamptz NOT NULL,
    row_version     integer NOT NULL DEFAULT 1
);
CREATE INDEX contact_organisation ON contact (organisation);
CREATE INDEX contact_emails ON contact USING gin (emails);
CREATE INDEX contact_phones ON contact USING gin (phones);

CREATE TABLE vehicle (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation    bigint NOT NULL REFERENCES organisation (id),
    name            text NOT NULL DEFAULT '',
    plate           text NOT NULL DEFAULT '',
    plate_key       text NOT NULL DEFAULT '',       -- as it is searched: upper case, no blanks, look-alikes as one
    terminal        integer UNIQUE REFERENCES terminal (id) ON DELETE SET NULL,
    site            text,
    accepted_at     date,                           -- warranty begins
    components      text[] NOT NULL DEFAULT '{}',
    active          boolean NOT NULL DEFAULT true,
    created_at      timestamptz NOT NULL,
    row_version     integer NOT NULL DEFAULT 1
);
CREATE INDEX vehicle_organisation ON vehicle (organisation);
CREATE INDEX vehicle_plate ON vehicle (plate_key) WHERE plate_key <> '';

ALTER TABLE app_user
    ADD COLUMN organisations bigint[] NOT NULL DEFAULT '{}',    -- of a client
    ADD COLUMN teams         text[] NOT NULL DEFAULT '{}',
    ADD COLUMN tier          integer,
    ADD COLUMN skills        text[] NOT NULL DEFAULT '{}',
    ADD COLUMN language      text CHECK (language IN ('en', 'ru', 'zh')),
    ADD COLUMN time_zone     text,
    ADD COLUMN active        boolean NOT NULL DEFAULT true,
    ADD COLUMN totp          bytea,             -- the secret, sealed with the key in data_dir; null: off
    ADD COLUMN totp_step     bigint,            -- the last one accepted: none is taken twice
    ADD COLUMN recovery      bytea[] NOT NULL DEFAULT '{}',     -- digests of one-time recovery codes
    ADD COLUMN row_version   integer NOT NULL DEFAULT 1;
ALTER TABLE api_token
    ADD COLUMN id            bigint GENERATED ALWAYS AS IDENTITY,
    ADD COLUMN label         text NOT NULL DEFAULT '',
    ADD COLUMN expires_at    timestamptz;

-- The same request again gives the same answer: what was answered, by whose key.
CREATE TABLE idempotency (
    who         text NOT NULL,
    key         text NOT NULL,
    digest      bytea NOT NULL,                 -- of method, path and body
    status      integer,                        -- null: still being worked on
    answer      text,
    at          timestamptz NOT NULL,
    PRIMARY KEY (who, key)
);
CREATE INDEX idempotency_at ON idempotency (at);
