-- When a terminal was last asked for its firmware, by any process of any service, and how many asks in a row it left
-- unanswered. Apart from `terminal`, whose rows others read and lock.
CREATE TABLE version_ask (
    terminal   integer PRIMARY KEY REFERENCES terminal ON DELETE CASCADE,
    asked_at   timestamptz NOT NULL,
    unanswered smallint NOT NULL
);
