-- What has no column goes to JSON: values of records with very many names, and of layouts beyond the bound.

CREATE OR REPLACE FUNCTION measure(r public.record, name text) RETURNS float8
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT coalesce(
        nullif(r.measures[array_position(l.names, name)], 'NaN'),
        CASE WHEN jsonb_typeof(r.extra -> name) = 'number' THEN (r.extra ->> name)::float8 END
    ) FROM layout l WHERE l.id = r.layout
$$;
CREATE OR REPLACE FUNCTION measure(r record_outside, name text) RETURNS float8
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT coalesce(
        nullif(r.measures[array_position(l.names, name)], 'NaN'),
        CASE WHEN jsonb_typeof(r.extra -> name) = 'number' THEN (r.extra ->> name)::float8 END
    ) FROM layout l WHERE l.id = r.layout
$$;
