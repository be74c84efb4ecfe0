"""A local exchange that speaks Kalshi's wire on loopback."""
