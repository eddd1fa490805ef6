-- People who use the desk, their sessions and their API tokens. Nothing here opens a door by itself:
-- passwords are argon2id, sessions and tokens are kept as SHA-256 of 256 random bits.

CREATE TABLE app_user (
    id          integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 64),
    role        text NOT NULL CHECK (role IN ('admin', 'manager', 'engineer', 'auditor', 'crew', 'client')),
    password    text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now()
);
-- "Admin" beside "admin" would only serve to deceive.
CREATE UNIQUE INDEX app_user_name ON app_user (lower(name));

CREATE TABLE session (
    digest      bytea PRIMARY KEY,
    app_user    integer NOT NULL REFERENCES app_user ON DELETE CASCADE,
    opened_at   timestamptz NOT NULL,
    used_at     timestamptz NOT NULL,       -- refreshed at most once a minute
    address     text NOT NULL
);
CREATE INDEX session_app_user ON session (app_user);

CREATE TABLE api_token (
    digest      bytea PRIMARY KEY,
    app_user    integer NOT NULL REFERENCES app_user ON DELETE CASCADE,
    scope       text NOT NULL CHECK (scope IN ('full', 'read')),
    created_at  timestamptz NOT NULL DEFAULT now(),
    used_at     timestamptz
);
CREATE INDEX api_token_app_user ON api_token (app_user);
