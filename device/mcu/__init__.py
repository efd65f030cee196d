"""What runs on the microcontroller, in Python that MicroPython has: so far the check of a signature."""
