"""`python -m tbox` is the `tbox` command, for a shell whose PATH lacks the virtual environment."""

from tbox.cli import main

main()
