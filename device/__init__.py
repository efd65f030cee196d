"""The agent in the car: frame, decode, sample, batch, sign, spool, publish."""
