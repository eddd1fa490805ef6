-- Each recipient of a message has an outcome of its own: address -> '' taken, else why it never will be.
ALTER TABLE outbox ADD COLUMN settled jsonb NOT NULL DEFAULT '{}';
