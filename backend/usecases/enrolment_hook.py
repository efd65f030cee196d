"""Whether a box may be enrolled, beyond its token: its label, and a hook of the operator's own.

Rules:
- A box whose label the depot has registered is enrolled by the organisation of that label alone. A label that
  is named must be this box's and in force; one that reads as a serial and is not known is refused.
- The hook (`TBOX_ENROL_HOOK`) gets one JSON object and may refuse with a sentence: a command by its exit
  status and first line, an address on this machine by a status of 4xx and `detail`. A hook that fails, or is
  silent for ENROL_HOOK_WAIT_S_MAX, refuses: nobody is enrolled past a check that did not answer.
- The hook is asked outside of any transaction, and only for a request whose proof has held.

Example:
    >>> ask_hook("/srv/tbox/may-enrol", {"device": device_id, "label": None, "organisation": org_id})
"""

import http.client
import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from sqlmodel import Session

from backend.domain.refusal import Reason, Refusal
from backend.store.labels import find_label, label_of_device
from protocol.errors import ProtocolError
from protocol.label import read_serial
from protocol.limits import ENROL_HOOK_WAIT_S_MAX

_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_SENTENCE_CHARS: Final = 200
_ANSWER_BYTES: Final = 4_096
_REFUSED: Final = range(400, 500)


def judge_label(session: Session, *, org_id: str, device_id: str, label: str | None) -> Refusal | None:
    """Return what the depot's labels say against an enrolment."""
    worn = label_of_device(session, device_id=device_id)
    if worn is not None and worn.org_id != org_id:
        return _no("the box's label is of another organisation")
    if label is None:
        return None
    try:
        serial = read_serial(label)
    except ProtocolError:
        return None  # a name of somebody's own, as before there were labels
    known = find_label(session, org_id=org_id, label=serial)
    if known is None or known.revoked_us is not None or known.box != device_id:
        return _no("this label is unknown, revoked, or of another box: register it in the depot")
    return None


def ask_hook(hook: str, question: Mapping[str, str | None]) -> Refusal | None:
    """Ask the operator's own check; None for a yes."""
    body = json.dumps(dict(question)).encode()
    return _ask_address(hook, body) if hook.startswith("http") else _ask_command(hook, body)


def _ask_command(command: str, body: bytes) -> Refusal | None:
    if not Path(command).is_absolute():
        return _no("the enrolment hook is no absolute path: ask the operator")
    try:
        done = subprocess.run(  # noqa: S603 - the operator's own command, without a shell
            [command], input=body, capture_output=True, timeout=ENROL_HOOK_WAIT_S_MAX, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return _no("the enrolment hook does not answer: ask the operator")
    if done.returncode == 0:
        return None
    said = done.stdout[:_ANSWER_BYTES].decode(errors="replace").strip().splitlines()
    return _no(said[0] if said else "the enrolment hook refuses this box")


def _ask_address(url: str, body: bytes) -> Refusal | None:
    if urlsplit(url).scheme != "http" or urlsplit(url).hostname not in _LOOPBACK:
        return _no("the enrolment hook is not on this machine: ask the operator")
    request = urllib.request.Request(  # noqa: S310 - http on loopback only
        url, data=body, headers={"Content-Type": "application/json"}, method="POST"
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=ENROL_HOOK_WAIT_S_MAX):
            return None
    except urllib.error.HTTPError as refused:
        if refused.code not in _REFUSED:
            return _no("the enrolment hook failed: ask the operator")
        try:
            said = json.loads(refused.read(_ANSWER_BYTES))["detail"]
        except (OSError, ValueError, KeyError, TypeError):
            said = "the enrolment hook refuses this box"
        return _no(str(said))
    except (OSError, http.client.HTTPException):
        return _no("the enrolment hook does not answer: ask the operator")


def _no(sentence: str) -> Refusal:
    return Refusal(reason=Reason.ENROLMENT_REFUSED, detail=sentence[:_SENTENCE_CHARS])
