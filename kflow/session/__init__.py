"""A recorded session: what its journal says, decoded by the very protocol that recorded it."""
