"""Tables and queries, one aggregate a file; a store never commits."""
