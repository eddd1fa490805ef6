-- What mail in must know of each message, and of its mailboxes.

ALTER TABLE ticket_message
    ADD COLUMN said     text,                           -- without quotes and signature; null: the text is all new
    ADD COLUMN data     jsonb NOT NULL DEFAULT '{}';    -- hints (split, secret), files left out, how it was matched

ALTER TABLE inbox
    ADD COLUMN sender       text,                       -- the address it claims to be from, lower case
    ADD COLUMN subject      text NOT NULL DEFAULT '',
    ADD COLUMN subject_key  bytea,                      -- of the subject without Re: and tag
    ADD COLUMN text_key     bytea,                      -- of what it says anew
    ADD COLUMN matched      text,                       -- message-id, reference, tag, marker
    ADD COLUMN accepted_by  text,                       -- who let a held one in
    ADD COLUMN last_error   text,                       -- of judging it
    ADD COLUMN size         integer NOT NULL DEFAULT 0; -- as it was sent; raw is shorter where that was too much
CREATE INDEX inbox_sender ON inbox (sender, received_at) WHERE sender IS NOT NULL;
CREATE INDEX inbox_message_id ON inbox (message_id) WHERE message_id <> '';
CREATE INDEX inbox_ticket ON inbox (ticket, judged_at) WHERE ticket IS NOT NULL;

ALTER TABLE mailbox_position
    ADD COLUMN looked_at     timestamptz,               -- the last time it answered
    ADD COLUMN failing_since timestamptz,
    ADD COLUMN error         text;
