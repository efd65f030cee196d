"""A simulated weather service: the air of the next twelve hours by place and season, for go tokens.

Rules: the same place and hour always have the same air; a fault answers late, not at all or nonsense. It
implements the gate's forecast over HTTP (`GET /?north=&east=&from=`), and the port in process.

Example:
    >>> Weather().next_12_h((341, -1_183), 1_795_600_000)
    (8, 17)
"""

import argparse
import json
import math
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

_YEAR_S, _COLDEST_S = 31_557_600, 1_296_000  # mid-January
_SPREAD = 9


class Weather:
    """Air by latitude and season.

    Args:
        fixed: lowest and highest °C everywhere; None for the model.
        is_away: whether it has no answer.
    """

    def __init__(self, *, fixed: tuple[int, int] | None = None, is_away: bool = False) -> None:
        self.fixed, self.is_away = fixed, is_away

    def next_12_h(self, place: tuple[int, int], now_s: int) -> tuple[int, int] | None:
        """Return the lowest and highest °C of the next 12 hours; None when there is no answer."""
        if self.is_away:
            return None
        if self.fixed is not None:
            return self.fixed
        latitude = place[0] / 10
        mean = 30 - 0.45 * abs(latitude)
        season = -math.cos(2 * math.pi * (now_s - _COLDEST_S) / _YEAR_S) * (1 if latitude >= 0 else -1)
        lowest = round(mean + season * abs(latitude) * 0.28 - _SPREAD / 2 + 4)
        return lowest, lowest + _SPREAD


def make_server(weather: Weather) -> ThreadingHTTPServer:
    """Return a server on a free port of loopback; `serve_forever` runs it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = {name: int(values[0]) for name, values in parse_qs(urlsplit(self.path).query).items()}
            found = weather.next_12_h((asked["north"], asked["east"]), asked["from"])
            if found is None:
                self.send_error(503)
                return
            body = json.dumps({"lowest": found[0], "highest": found[1]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words: object) -> None:
            del words

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


def main() -> None:
    """Run the process: it prints its address as one JSON object."""
    parser = argparse.ArgumentParser(description="A simulated weather service on loopback.")
    parser.add_argument("--lowest", type=int, help="°C everywhere, with --highest")
    parser.add_argument("--highest", type=int)
    words = parser.parse_args()
    fixed = None if words.lowest is None else (words.lowest, words.highest)
    server = make_server(Weather(fixed=fixed))
    sys.stdout.write(json.dumps({"url": f"http://127.0.0.1:{server.server_address[1]}/"}) + "\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
