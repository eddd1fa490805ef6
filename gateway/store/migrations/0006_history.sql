-- Whose connections these are: a service that starts ends only what its own earlier life left open. Connections of a
-- service that never comes back stay open until they are pruned by age.
ALTER TABLE connection
    ADD COLUMN instance text,               -- one data directory; null: from before
    ADD COLUMN worker   smallint;           -- which of its receiving processes; 0: the only one
CREATE INDEX connection_open ON connection (instance, worker) WHERE closed_at IS NULL;

-- When the terminal told it: what was heard earlier and is written later, by whatever process, does not replace it.
ALTER TABLE terminal
    ADD COLUMN protocol_at   timestamptz,
    ADD COLUMN model_told_at timestamptz,
    ADD COLUMN firmware_at   timestamptz;
