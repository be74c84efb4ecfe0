-- name: tables
-- What each table of kflow takes, its partitions and indexes included, largest first. Rows are PostgreSQL's estimate.
-- Returns: relname, partitions, estimated_rows, table_bytes, index_bytes.
SELECT t.relname,
       count(*) - 1 AS partitions,
       sum(greatest(c.reltuples, 0))::int8 AS estimated_rows,
       sum(pg_table_size(c.oid))::int8 AS table_bytes,
       sum(pg_indexes_size(c.oid))::int8 AS index_bytes
  FROM pg_class t
  -- A plain table has no partition tree, not even itself.
  CROSS JOIN LATERAL (SELECT t.oid UNION SELECT relid FROM pg_partition_tree(t.oid)) AS part (oid)
  JOIN pg_class c ON c.oid = part.oid
 WHERE t.relnamespace = current_schema()::regnamespace AND t.relkind IN ('r', 'p') AND NOT t.relispartition
   AND t.relname ~ '^(rl_|schema_migrations$)'
 GROUP BY t.relname
 ORDER BY sum(pg_total_relation_size(c.oid)) DESC, t.relname;
