"""Seeded lives of a car under orders: real brain, real agent, strict people, and faults. See `life`."""
