-- What terminals tell of themselves besides model and firmware, and when they told it (see 0006). `operator` is people's
-- word, by which terminals are grouped; `operator_told` the network's, MCC and MNC as one number.
ALTER TABLE terminal
    ADD COLUMN imei             text,
    ADD COLUMN imei_at          timestamptz,
    ADD COLUMN iccid            text,
    ADD COLUMN iccid_at         timestamptz,
    ADD COLUMN imsi             text,
    ADD COLUMN imsi_at          timestamptz,
    ADD COLUMN operator_told    text,
    ADD COLUMN operator_told_at timestamptz;
CREATE INDEX terminal_imei ON terminal (imei) WHERE imei IS NOT NULL;
