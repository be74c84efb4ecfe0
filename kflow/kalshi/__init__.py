"""Kalshi's wire: signing, messages, the feed, REST market data."""
