"""The box side of an installation: from a work ticket to a signed record, step by step."""
