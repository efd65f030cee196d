"""Messages worked to the byte: what every reader must accept, and what it must refuse and why."""
