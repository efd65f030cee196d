"""Tools around the firmware: its images."""
