"""Training: markets as episodes, many accounts at once, and what learns on them."""
