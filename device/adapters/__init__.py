"""One library a file, no decisions: the only code of the agent that touches the world."""
