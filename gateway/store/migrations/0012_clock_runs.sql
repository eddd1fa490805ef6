-- Whether the promise of a ticket's clock is still to be kept; with a due time in the past it is overdue.
ALTER TABLE ticket ADD COLUMN clock_runs boolean NOT NULL DEFAULT false;
-- The watch looks at each clock once, and writes what it finds.
UPDATE ticket SET clock_check_at = opened_at WHERE policy_version IS NOT NULL AND state <> 'closed';
