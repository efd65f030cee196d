"""The world that the agent and the backend are tried in: seeded, faulty on demand."""
