"""One thin file per command: parse, call the library once, print."""
