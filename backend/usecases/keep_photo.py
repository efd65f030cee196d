"""A photo of a job is kept under its hash.

Rules: the hash in the address is that of the bytes, and the bytes begin as a JPEG or PNG does; nothing else
is looked at, and nothing is ever shown but under the type it was stored with. The same photo again changes
nothing, so a phone that lost its answer sends again. A job has at most INSTALL_PHOTOS_MAX.

Example:
    >>> keep_photo(session, job=job, sha256=sha256, media_type="image/jpeg", content=data, now_us=utc_us())
"""

import hashlib

from sqlmodel import Session

from backend.domain.installing import EventKind
from backend.domain.refusal import Reason, Refusal
from backend.store.jobs import Job, JobPhoto, find_photo, list_photos
from backend.usecases.job_events import note_event
from protocol.limits import INSTALL_PHOTOS_MAX, JOB_PHOTO_BYTES_MAX

STARTS = {"image/jpeg": b"\xff\xd8\xff", "image/png": b"\x89PNG\r\n\x1a\n"}
"""How a file of each accepted type begins. Source: ITU-T T.81 B.1.1.3, PNG (third edition) §5.2."""


def keep_photo(
    session: Session, *, job: Job, sha256: str, media_type: str, content: bytes, now_us: int
) -> JobPhoto | Refusal:
    """Store a photo in the caller's transaction, which holds the job's row."""
    known = find_photo(session, org_id=job.org_id, job_id=job.job_id, sha256=sha256)
    if known is not None:
        return known
    if not 0 < len(content) <= JOB_PHOTO_BYTES_MAX or hashlib.sha256(content).hexdigest() != sha256:
        return Refusal(reason=Reason.BAD_PHOTO, detail="the bytes are torn, or not those of this hash")
    if not content.startswith(STARTS[media_type]):
        return Refusal(reason=Reason.BAD_PHOTO, detail=f"the bytes are no {media_type}")
    if len(list_photos(session, org_id=job.org_id, job_id=job.job_id)) >= INSTALL_PHOTOS_MAX:
        return Refusal(reason=Reason.TOO_MANY_PHOTOS, detail=f"a job has at most {INSTALL_PHOTOS_MAX} photos")
    photo = JobPhoto(
        job_id=job.job_id,
        sha256=sha256,
        org_id=job.org_id,
        media_type=media_type,
        content=content,
        size=len(content),
        at_us=now_us,
    )
    session.add(photo)
    session.flush()
    note_event(session, job, EventKind.PHOTO, {"sha256": sha256, "bytes": len(content)}, now_us=now_us)
    return photo
