"""The policy gate: a process of its own, with its own key and storage, that signs third or does not."""
