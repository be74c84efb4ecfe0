"""What an order would have got: recorded books as columns, one kernel that fills orders on them, and its parameters."""
