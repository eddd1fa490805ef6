-- Letters: which passed the storm budget and when, which digest lists those that did not; events of no ticket.

ALTER TABLE letter
    ADD COLUMN admitted_at timestamptz,                     -- it counts against its address's budget from then on
    ADD COLUMN digest      bigint REFERENCES letter (id);   -- of one that was digested: the letter that lists it
CREATE INDEX letter_digest ON letter (digest, id) WHERE digest IS NOT NULL;
CREATE INDEX letter_admitted ON letter (address, admitted_at) WHERE admitted_at IS NOT NULL;
CREATE INDEX letter_outage ON letter (outage, id) WHERE outage IS NOT NULL;
CREATE INDEX letter_ticketless ON letter (kind, n) WHERE ticket IS NULL;

-- An outage is told to webhooks too, and has no ticket.
ALTER TABLE outbox ALTER COLUMN ticket DROP NOT NULL;
