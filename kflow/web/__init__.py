"""The HTTP service that `kflow ingest` starts."""
