"""The agent's side of orders: carries them to the microcontroller, and its signed answers back."""
