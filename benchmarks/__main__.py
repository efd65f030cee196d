"""`python -m benchmarks`: the same as `tbox bench`."""

from benchmarks.cli import app

app()
