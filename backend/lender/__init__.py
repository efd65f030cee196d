"""`tbox lender`: what an officer signs with, outside the server and without trusting it.

Rules:
- It stands on `protocol`, the standard library, `cryptography`, typer and rich alone: no database, no server.
- What is signed is shown first, decoded by the car's own strict reader from the very bytes that are signed;
  what cannot be decoded and shown is not signed (C-02, C-08; README §2.14).
- What the server says is checked against pins that came another way: the roots, the log's key, and each
  car's own key D1. What a pin does not confirm is refused, or named as unconfirmed.
- A secret is read from a terminal or from a file of mode 0600, never from the command line.

It does not decide whether a car may be locked: the gate and the car do.

Example:
    $ tbox lender request lock DEVICE --basis case.basis --key maker.key
    $ tbox lender approve CMD_ID --key checker.key --reason-code ACCOUNT
"""
