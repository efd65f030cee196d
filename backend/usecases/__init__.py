"""One sentence of the product a module; each owns its transaction."""
