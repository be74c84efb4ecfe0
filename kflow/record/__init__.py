"""From socket to journal to books to tables."""
