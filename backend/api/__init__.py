"""HTTP: routes translate, nothing more."""
