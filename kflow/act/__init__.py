"""Trading: a policy on live books, within limits, reconciled with the venue, and always to be stopped."""
