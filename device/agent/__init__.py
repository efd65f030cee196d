"""The asyncio shell around the engine: wiring, pumps, health and the command line."""
