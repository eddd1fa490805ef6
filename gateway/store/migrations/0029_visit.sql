-- Which crew goes where: what a crew may see follows from it.

CREATE TABLE visit (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    vehicle     bigint REFERENCES vehicle (id),
    crew        text NOT NULL DEFAULT '',       -- a user or a team, by name
    state       text NOT NULL DEFAULT 'planned'
        CHECK (state IN ('planned', 'confirmed', 'on_way', 'on_site', 'done', 'cancelled')),
    slot_from   timestamptz,
    slot_to     timestamptz,
    created_at  timestamptz NOT NULL,
    row_version integer NOT NULL DEFAULT 1
);
CREATE INDEX visit_crew ON visit (crew) WHERE state <> 'cancelled';
CREATE INDEX visit_vehicle ON visit (vehicle);

CREATE TABLE visit_ticket (
    visit       bigint NOT NULL REFERENCES visit (id),
    ticket      bigint NOT NULL REFERENCES ticket (id),
    PRIMARY KEY (visit, ticket)
);
CREATE INDEX visit_ticket_ticket ON visit_ticket (ticket);
