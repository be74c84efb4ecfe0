"""Where recordings lie: the journal of raw frames and PostgreSQL."""
