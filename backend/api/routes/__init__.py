"""Routes, one file an aggregate; each translates between HTTP and a use-case and decides nothing."""
