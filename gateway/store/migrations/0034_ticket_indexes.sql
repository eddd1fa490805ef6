-- By what a ticket's page looks for others: those merged into it, and the open ones of its client.

CREATE INDEX ticket_merged_into ON ticket (merged_into) WHERE merged_into IS NOT NULL;
CREATE INDEX ticket_open_of ON ticket (organisation, priority, id) WHERE state <> 'closed';
