"""Give a session back: load, verify, export, serve."""
