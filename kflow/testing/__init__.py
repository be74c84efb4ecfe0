"""Fakes and generators for tests, ours and users'."""
