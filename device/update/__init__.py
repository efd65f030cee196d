"""Updates of the box: one release of agent, microcontroller, profile and policy, taken or left as a whole.

Rules: `transaction` decides and touches nothing; `slots`, `repository`, `mcu_writer`, `asking` and `vitals`
are the edges; `keeper` drives them and is no part of any release: a broken release cannot keep itself.

It decides nothing about locks.

Example: `tbox-keeper --home /var/lib/tbox`; see `docs/guides/update.md`.
"""
