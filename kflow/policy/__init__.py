"""The language that training and trading share: what a policy sees, what it may do, how it decides."""
