"""Batch, sign, spool, publish: pure code from rows to signed bytes the backend has acknowledged."""
