"""The order vectors, read by the core that runs in the car, on whichever interpreter: one program, both ways.

The program gets the device's side of `order-messages.json` as a JSON line, a document a line, and a message
on two lines, read in pieces into one buffer; it prints an answer a line. It verifies by `p256`, as the
microcontroller does.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from protocol.vectors import generate

PROGRAM = """
import gc, json
from protocol import cose_sign, orders_authority, orders_reader
from device.mcu import p256

HEX = ("lender_id", "vin_bind", "contract_ref", "epoch", "prev", "chal")
world = json.loads(sys.stdin.readline())
buffer = bytearray(2_100)  # as the microcontroller's own: taken once, before the heap is in pieces
snapshots, delegations, known = {}, {}, {}

def roots_of(missing):
    roots = {}
    for anchor in world["anchors"]:
        keys = [bytes.fromhex(key) for key in anchor["keys"]]
        roots[anchor["issuer"]] = orders_authority.Root(anchor["issuer"], keys, anchor["threshold"])
    for name, data in snapshots.items():
        if name not in missing:
            for issuer in roots:
                if roots[issuer].version == 0:
                    try:
                        roots[issuer] = orders_authority.read_snapshot(data, roots[issuer], once)
                        break
                    except orders_authority.AuthorityError:
                        pass
    return roots

def once(xy, digest, signature, feed):
    key = signature[:8]
    if key not in known:
        known[key] = p256.verify(xy, digest, signature)
    return known[key]

def device_of(changes):
    cose_key = bytes.fromhex(world["mcu"])
    device = orders_reader.Device(cose_sign.thumbprint(cose_key), cose_sign.key_xy(cose_key))
    fields = dict(world["device"])
    fields.update(changes)
    missing, revocations = fields.pop("missing"), fields.pop("revocations", [])
    for name, value in fields.items():
        if name in HEX and value is not None:
            value = bytes.fromhex(value)
        setattr(device, name, value)
    device.done = {bytes.fromhex(key): value for key, value in device.done.items()}
    device.roots = roots_of(missing)
    for name, delegation in delegations.items():
        if name not in missing:
            device.delegations[delegation.digest] = delegation
    for data in revocations:
        revocation = bytes.fromhex(data)
        for issuer in device.roots:
            try:
                orders_authority.read_revocation(revocation, device.roots[issuer], once)
            except orders_authority.AuthorityError:
                pass
    return device

for _ in range(world["documents"]):
    name, data = sys.stdin.readline().split()
    data = bytes.fromhex(data)
    if name.startswith("authority/"):
        snapshots[name] = data
    else:
        delegations[name] = orders_authority.read_delegation(data, roots_of(()), once)

last = None
while True:
    line = sys.stdin.readline().strip()
    if not line:
        break
    message = json.loads(line)
    data = memoryview(buffer)[: message["size"]]
    for at in range(0, len(data), 256):
        piece = bytes.fromhex(sys.stdin.read(2 * min(256, len(data) - at)))
        data[at : at + len(piece)] = piece
    sys.stdin.readline()
    if message["changes"] != last:
        last, device = message["changes"], None
        gc.collect()
        device = device_of(last)
    left = device.signatures_left
    if message["reader"] == "go":
        go = world["go"]
        cmd_hash, chal2 = bytes.fromhex(go["cmd_hash"]), bytes.fromhex(go["chal2"])
        code, token = orders_reader.read_go(data, device, cmd_hash, chal2, go["chal2_tick"], p256.verify)
        print("LINK" if token is None else "GO", code)
    else:
        answer = orders_reader.read_order(data, device, p256.verify)
        print(answer.outcome, answer.code)
    device.signatures_left = left
    line = message = data = answer = None
    gc.collect()
"""


def world() -> dict[str, Any]:
    """Return the file's content."""
    loaded: dict[str, Any] = json.loads((generate.FOLDER / "order-messages.json").read_text(encoding="utf-8"))
    return loaded


def lines_for(content: Mapping[str, Any], messages: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the program's input: the world, then the messages, those of the same device together."""
    known = {key: value for key, value in content.items() if key != "messages"}
    held = [
        document
        for document in content["documents"]
        if document["name"].startswith(("authority/", "delegation/"))
    ]
    known["documents"] = len(held)
    lines = [json.dumps(known), *(f"{document['name']} {document['hex']}" for document in held)]
    for message in messages:
        line = {"reader": message["reader"], "changes": message["changes"], "size": len(message["hex"]) // 2}
        lines += [json.dumps(line), message["hex"]]
    return lines
