"""The depot's label at the real office: kept, kept again, and refused with the office's own sentence."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn

from backend.api.app import create_app
from firmware_tools.cli_errors import ToolError
from firmware_tools.depot_codes import DepotCode
from firmware_tools.depot_office import LabelOffice
from firmware_tools.depot_report import Report
from protocol.label import make_serial
from tests.builders.backend import Backend, make_backend

ONE, TWO = make_serial("TB", 1), make_serial("TB", 2)


@contextmanager
def serving(backend: Backend) -> Iterator[str]:
    """Run the API in a thread and give its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(create_app(backend.settings, clock=backend.clock), log_config=None)
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def test_the_office_keeps_a_label_takes_it_twice_and_refuses_a_second_box_under_it(tmp_path: Path) -> None:
    backend = make_backend(tmp_path)
    first = Report(serial=ONE, device="ab" * 32, mcu_id="0c" * 32)
    with serving(backend) as url:
        key = backend.admin["Authorization"].removeprefix("Bearer ")
        office = LabelOffice(url=url, api_key=key)
        office.register(first, iccid="89882390000012345678")
        office.register(first, iccid=None)
        with pytest.raises(ToolError) as taken:
            office.register(Report(serial=ONE, device="cd" * 32, mcu_id="0d" * 32), iccid=None)
        assert taken.value.code is DepotCode.OFFICE_REFUSED
        assert "this one is of another box" in taken.value.sentence
        with pytest.raises(ToolError, match="the box wears another label"):
            office.register(Report(serial=TWO, device=first.device, mcu_id=first.mcu_id), iccid=None)
        with pytest.raises(ToolError, match="OFFICE_REFUSED"):
            LabelOffice(url=url, api_key="wrong").register(first, iccid=None)


def test_a_key_never_travels_in_the_clear_to_another_machine() -> None:
    with pytest.raises(ToolError, match="is not https"):
        LabelOffice(url="http://fleet.example", api_key="key")
