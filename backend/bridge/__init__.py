"""MQTT in, use-cases, signed receipts out."""
