-- How long a letter has been tried: it is given up after a day of attempts, however long it had to wait for the first.
ALTER TABLE letter ADD COLUMN tried_at timestamptz;

-- Events of one ticket reach a target in order.
ALTER TABLE outbox ADD COLUMN seq bigint GENERATED ALWAYS AS IDENTITY;
