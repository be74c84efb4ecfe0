"""What a policy is worth on data it never saw, and how sure that is."""
