"""Frame, decode, sample: pure code from bus bytes to rows worth keeping."""
