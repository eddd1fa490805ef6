-- Groups that fall silent: which listener a terminal came by, and members that their group took unasked.
ALTER TABLE connection ADD COLUMN listener text;    -- protocol and port
CREATE INDEX connection_opened ON connection (opened_at);

ALTER TABLE incident ADD COLUMN grouped boolean NOT NULL DEFAULT false;  -- asked for no ticket: not counted by the limit
DROP INDEX incident_raised;
CREATE INDEX incident_raised ON incident (raised_at) WHERE terminal IS NOT NULL AND NOT grouped;
CREATE INDEX incident_of_group ON incident (kind, group_by, group_value, id) WHERE terminal IS NULL;
