"""What a new policy would have earned where an old one traded, from the log of the old one."""
