"""Asks the backend which release is this box's, and tells it how releases ended.

Rules: the question is signed by the box's key; the answer is a number and nothing more, see `admission`.
What was told is forgotten only after the backend has answered.

Example:
    service = Asking(JsonService("https://fleet.example:8443"), device=device, signer=signer)
    release = service.ask(record, now_s=1_790_000_000)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from device.errors import EdgeError
from protocol.base64url import to_text
from protocol.limits import UPDATE_NUMBER_MAX
from protocol.update_forms import UpdateQuestion, sign_question

if TYPE_CHECKING:
    from device.adapters.https_json import JsonService
    from device.update.forms import Record
    from protocol.envelope import Signer
    from protocol.ids import DeviceId


class Asking:
    """The backend's answer to one box.

    Args:
        service: the backend.
        device: the box.
        signer: D2.
    """

    def __init__(self, service: JsonService, *, device: DeviceId, signer: Signer) -> None:
        self._service, self._device, self._signer = service, device, signer

    def ask(self, record: Record, *, now_s: int) -> int | None:
        """Return the number of this box's release, None for the one it has.

        Raises:
            EdgeError: the backend does not answer, or says something else.
        """
        question = UpdateQuestion(
            device=self._device,
            asked_s=now_s,
            running=record.confirmed,
            outcomes=tuple((release, outcome.value) for release, outcome in record.untold),
        )
        answer = self._service.post(
            "/v1/updates", {"message": to_text(sign_question(question, self._signer))}
        )
        release = answer.get("release")
        if release is None:
            return None
        if not isinstance(release, int) or isinstance(release, bool) or not 0 < release <= UPDATE_NUMBER_MAX:
            raise EdgeError(
                "the backend's answer is no release",
                is_transient=False,
                meaning="the box keeps the release it has",
                next_step="look at the backend's version",
            )
        return release
