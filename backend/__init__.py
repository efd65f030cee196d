"""The server: devices, proved traces, and who may see them."""
