"""Where recordings and DBCs of others lie, when they are there.

Rules: `$TBOX_TEST_DATA`, else `../shared/data` beside the checkout, the same as for the tests. What is absent
is named, so that a bench can say which rows it leaves out and why; nothing is fetched.

Example:
    recordings = Recordings.find()
    recordings.path("can/comma2k19_toyota/can0.log")
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

TOYOTA_LOG = "can/comma2k19_toyota/can0.log"
TOYOTA_DBC = "can/comma2k19_toyota/toyota_new_mc_pt.dbc"
GNSS_MF4 = "can/css_mf4/gnss_uds_64s.mf4"
GNSS_DBC = "can/css_mf4/dbc/canmod-gps.dbc"


class AbsentError(LookupError):
    """A recording is not on this machine; its text says which, and how to name the folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recordings:
    """A folder of recordings, or the lack of one."""

    folder: Path | None

    @classmethod
    def find(cls) -> Recordings:
        """Look where tests look."""
        named = os.environ.get("TBOX_TEST_DATA")
        for candidate in (Path(named) if named else None, ROOT.parent / "shared" / "data"):
            if candidate is not None and (candidate / "MANIFEST.tsv").is_file():
                return cls(folder=candidate)
        return cls(folder=None)

    def path(self, name: str) -> Path:
        """Return one file.

        Raises:
            AbsentError: it is not there.
        """
        if self.folder is None:
            raise AbsentError("no recordings here: set TBOX_TEST_DATA to the folder that holds MANIFEST.tsv")
        path = self.folder / name
        if not path.is_file():
            raise AbsentError(f"the recordings have no {name}")
        return path


def demo_dbc() -> Path:
    """Return the demonstration car's DBC, which comes with the product."""
    with resources.as_file(resources.files("dbc").joinpath("tbox_demo.dbc")) as path:
        return path
