"""What travels between car, cloud and court: defined once, worked in hex in SPEC.md."""
