-- What people know of a terminal besides: whom it belongs to, where it is, whose network it uses, and whether it is in
-- use at all. The groups that may fail together are made of it.
ALTER TABLE terminal
    ADD COLUMN operator        text,            -- of the mobile network
    ADD COLUMN customer        text,
    ADD COLUMN site            text,            -- a yard, a quarry
    ADD COLUMN region          text,
    ADD COLUMN stage           text NOT NULL DEFAULT 'in_use'
        CHECK (stage IN ('in_use', 'workshop', 'season', 'sold')),
    ADD COLUMN stage_until     timestamptz,     -- then it is in use again; null: until somebody says so
    ADD COLUMN firmware_target text;            -- the version it should have
-- A stage that ends by itself is a change that nobody writes: the watch looks for those that ended since it last looked.
CREATE INDEX terminal_stage_until ON terminal (stage_until) WHERE stage_until IS NOT NULL;

DROP TRIGGER terminal_changed ON terminal;
CREATE TRIGGER terminal_changed BEFORE UPDATE OF protocol, model, model_told, firmware, operator, customer, site,
        region, stage, stage_until, firmware_target ON terminal
    FOR EACH ROW
    WHEN ((OLD.protocol, OLD.model, OLD.model_told, OLD.firmware, OLD.operator, OLD.customer, OLD.site, OLD.region,
           OLD.stage, OLD.stage_until, OLD.firmware_target)
          IS DISTINCT FROM
          (NEW.protocol, NEW.model, NEW.model_told, NEW.firmware, NEW.operator, NEW.customer, NEW.site, NEW.region,
           NEW.stage, NEW.stage_until, NEW.firmware_target))
    EXECUTE FUNCTION terminal_changed();
