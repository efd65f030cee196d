"""DBC files of our own, and vehicle profiles: data, with origin and licence."""
