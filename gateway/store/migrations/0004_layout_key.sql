-- A layout of many long names does not fit into an index entry; its digest always does.

-- The text of an array of text depends on nothing but the array.
CREATE FUNCTION layout_digest(names text[]) RETURNS bytea LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT sha256(convert_to(names::text, 'UTF8'))
$$;
ALTER TABLE layout DROP CONSTRAINT layout_names_key;
CREATE UNIQUE INDEX layout_key ON layout (layout_digest(names));
