"""A live run again in the simulator, order by order: what the difference is made of, to the micro-dollar."""
