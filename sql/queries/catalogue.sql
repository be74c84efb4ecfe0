-- Queries of kflow/store/catalogue.py.

-- name: columns
-- Every column of kflow's tables and views, days' partitions left out; tables first, by name.
-- Returns: relation, is_view, about, name, type, required, meaning.
SELECT c.relname AS relation, c.relkind = 'v' AS is_view, obj_description(c.oid, 'pg_class') AS about,
       a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS required,
       col_description(c.oid, a.attnum) AS meaning
  FROM pg_class c
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
 WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition
   AND c.relname ~ '^(rl_|schema_migrations$)'
 ORDER BY is_view, relation, a.attnum;
