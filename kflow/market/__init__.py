"""Markets as pure values: grids, events, sequence numbers, books, fees. No I/O, no clock, no threads."""
