"""Pure rules of the server: no I/O, no clock, no database."""
