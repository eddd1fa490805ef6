-- What people say of a closed ticket's silence, told to the watch once: a normal one teaches, a fault does not.
ALTER TABLE incident ADD COLUMN cause text CHECK (cause IN ('fault', 'normal')),
    ADD COLUMN taught boolean NOT NULL DEFAULT true;
CREATE INDEX incident_untaught ON incident (id) WHERE NOT taught;
