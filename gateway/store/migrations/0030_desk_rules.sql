-- A client's own engineers and who of them is away; staff mail; permission for remote work; what clients entrust.

ALTER TABLE app_user
    ADD COLUMN email        text,               -- letters to staff go there; null: to the name, where that is an address
    ADD COLUMN absent_until timestamptz;        -- until then no ticket is given to them by itself
ALTER TABLE ticket
    ADD COLUMN given        boolean NOT NULL DEFAULT false;     -- its owner was given it by itself and did nothing yet

-- The client's word that its terminals may be worked on from afar: whose, how said, for which terminal, until when.
CREATE TABLE remote_permission (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ticket      bigint NOT NULL REFERENCES ticket (id),
    given_by    text NOT NULL,
    means       text NOT NULL CHECK (means IN ('button', 'mail', 'phone', 'portal')),
    scope       text NOT NULL DEFAULT '',       -- what was allowed, in the client's words; empty: whatever the ticket needs
    at          timestamptz NOT NULL,
    until       timestamptz NOT NULL,
    written_by  text NOT NULL,
    withdrawn_at timestamptz,
    CHECK (until > at)
);
CREATE INDEX remote_permission_ticket ON remote_permission (ticket, id);
ALTER TABLE command
    ADD COLUMN ticket       bigint REFERENCES ticket (id) ON DELETE SET NULL,      -- it was sent from
    ADD COLUMN permission   bigint REFERENCES remote_permission (id) ON DELETE SET NULL;
CREATE INDEX command_ticket ON command (ticket, id) WHERE ticket IS NOT NULL;

-- Credentials that a client entrusts with a ticket: sealed with the key in data_dir, erased when their time is over.
CREATE TABLE ticket_secret (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ticket      bigint NOT NULL REFERENCES ticket (id),
    label       text NOT NULL,
    sealed      bytea,                          -- null: erased
    created_at  timestamptz NOT NULL,
    created_by  text NOT NULL,
    expires_at  timestamptz NOT NULL,
    CHECK (expires_at > created_at)
);
CREATE INDEX ticket_secret_ticket ON ticket_secret (ticket, id);
CREATE INDEX ticket_secret_expires ON ticket_secret (expires_at) WHERE sealed IS NOT NULL;
