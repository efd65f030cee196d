"""The `tbox` command: finds command groups by entry point."""
