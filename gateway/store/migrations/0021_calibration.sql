-- Litres: calibration tables of fuel-level sensors, in versions, and the view that reads records through them.

-- At an instant the version with the latest `since` up to it holds; of several with one `since` the highest.
CREATE TABLE calibration (
    terminal    integer NOT NULL REFERENCES terminal ON DELETE CASCADE,
    sensor      integer NOT NULL CHECK (sensor BETWEEN 1 AND 9999),
    version     integer NOT NULL,
    since       timestamptz NOT NULL,
    made_at     timestamptz NOT NULL DEFAULT now(),
    codes       float8[] NOT NULL,          -- rising, as the litres are
    litres      float8[] NOT NULL,
    PRIMARY KEY (terminal, sensor, version),
    CHECK (cardinality(codes) BETWEEN 2 AND 200 AND cardinality(litres) = cardinality(codes))
);
ALTER TABLE calibration ALTER codes SET STORAGE PLAIN, ALTER litres SET STORAGE PLAIN;  -- read for every record
CREATE INDEX calibration_holds ON calibration (terminal, sensor, since, version);

-- Where the values of one fuel-level sensor lie in a layout; of several names for its level the first one told counts.
CREATE TYPE fuel_place AS (sensor integer, level integer[], temperature integer, status integer);

-- Parsed once and for all, so that it means the same whatever the search path.
CREATE FUNCTION fuel_places(names text[]) RETURNS fuel_place[] LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (
    SELECT array_agg((sensor, level, temperature, status)::fuel_place ORDER BY sensor) FROM (
        SELECT m[2]::integer AS sensor,
               array_agg(place ORDER BY rank) FILTER (WHERE rank <= 4) AS level,
               (array_agg(place ORDER BY rank) FILTER (WHERE rank BETWEEN 5 AND 7))[1] AS temperature,
               (array_agg(place ORDER BY rank) FILTER (WHERE rank = 8))[1] AS status
        FROM (
            SELECT place::integer AS place, m, array_position(ARRAY[
                       'fuel.level.', 'ble.lls.level.', 'param.lls', 'param.rs485_',
                       'fuel.temperature.', 'ble.lls.temperature.', 'param.llst', 'fuel.status.'
                   ], m[1] || m[3]) AS rank
            FROM unnest(names) WITH ORDINALITY AS u(name, place),
                 regexp_matches(name, '^((?:fuel|ble\.lls)\.[a-z]+\.|param\.lls|param\.rs485_)([1-9][0-9]{0,3})(t?)$') AS m
        ) found
        WHERE rank IS NOT NULL GROUP BY m[2]::integer
    ) sensors
);

ALTER TABLE layout ADD COLUMN fuel fuel_place[] GENERATED ALWAYS AS (fuel_places(names)) STORED;

-- A number that a column of the view can hold, whatever a stranger sent.
CREATE FUNCTION fuel_told(value float8) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN abs(value) < 1e9 THEN value END;

CREATE VIEW fuel AS
SELECT t.identity AS terminal, told.time, told.sensor, told.code,
       (SELECT CASE WHEN told.code = c.codes[c.i] THEN c.litres[c.i]
                    ELSE c.litres[c.i] + (told.code - c.codes[c.i]) * (c.litres[c.i + 1] - c.litres[c.i])
                                       / (c.codes[c.i + 1] - c.codes[c.i]) END
        FROM (SELECT codes, litres, width_bucket(told.code, codes) AS i FROM calibration
              WHERE calibration.terminal = told.id AND calibration.sensor = told.sensor AND since <= told.time
              ORDER BY since DESC, version DESC LIMIT 1) c) AS litres,
       told.temperature::float4 AS temperature, told.status::integer AS status
FROM terminal t
JOIN LATERAL (
    SELECT r.terminal AS id, r.time, p.sensor,
           coalesce(fuel_told(p.v[p.level[1]]), fuel_told(p.v[p.level[2]]),
                    fuel_told(p.v[p.level[3]]), fuel_told(p.v[p.level[4]])) AS code,
           fuel_told(p.v[p.temperature]) AS temperature, fuel_told(p.v[p.status]) AS status
    FROM (SELECT * FROM record UNION ALL SELECT * FROM record_outside) r
    JOIN layout l ON l.id = r.layout
    CROSS JOIN LATERAL (
        SELECT u.*, r.measures AS v FROM unnest(l.fuel) u
        UNION ALL  -- layouts beyond the bound: all that such a record tells is JSON
        SELECT u.*, e.v FROM (
            SELECT array_agg(key) AS names,
                   array_agg(CASE WHEN abs(value::numeric) < 1e9 THEN round(value::numeric, 9)::float8 END) AS v
            FROM jsonb_each(r.extra) WHERE jsonb_typeof(value) = 'number'
        ) e, unnest(fuel_places(e.names)) u
        WHERE l.fuel IS NULL AND r.extra IS NOT NULL
    ) p
) told ON told.id = t.id
WHERE told.code IS NOT NULL OR told.temperature IS NOT NULL OR told.status IS NOT NULL;
