-- Incidents of many terminals: a group has a ticket and no terminal, its members have incidents of their own and no ticket.

ALTER TABLE ticket
    ALTER COLUMN terminal DROP NOT NULL,
    ADD COLUMN verdict text;                -- of its clock, as of the last look; null: it has none
-- The watch looks at each clock once, and writes what it finds.
UPDATE ticket SET clock_check_at = opened_at WHERE policy_version IS NOT NULL;
CREATE INDEX ticket_verdict ON ticket (verdict);

ALTER TABLE incident
    ALTER COLUMN terminal DROP NOT NULL,
    ALTER COLUMN ticket DROP NOT NULL,
    ADD COLUMN parent bigint REFERENCES incident (id),  -- the group that it is, or was until it ended, a member of
    ADD COLUMN group_by text,                           -- what the terminals of a group share; null: nothing but the time
    ADD COLUMN group_value text,
    ADD COLUMN raised_at timestamptz;                   -- when it last asked for somebody's attention
UPDATE incident SET raised_at = opened_at;
ALTER TABLE incident
    ALTER COLUMN raised_at SET NOT NULL,
    ADD CONSTRAINT incident_ticket_or_parent CHECK ((ticket IS NULL) = (parent IS NOT NULL)),
    ADD CONSTRAINT incident_no_group_in_a_group CHECK (terminal IS NOT NULL OR parent IS NULL),
    ADD CONSTRAINT incident_group CHECK ((group_by IS NULL) = (group_value IS NULL)
                                         AND (terminal IS NULL OR group_by IS NULL));

-- `incident_open` keeps a terminal from having two of one kind, member or not; this one does so for groups.
CREATE UNIQUE INDEX incident_group_open ON incident (kind, coalesce(group_by, ''), coalesce(group_value, ''))
    WHERE state = 'open' AND terminal IS NULL;
CREATE INDEX incident_parent ON incident (parent, raised_at, id) WHERE parent IS NOT NULL;
CREATE INDEX incident_raised ON incident (raised_at) WHERE terminal IS NOT NULL;
