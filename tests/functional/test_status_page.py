# SPDX-License-Identifier: Apache-2.0
"""The status page in a real browser: Debian's Chromium, headless."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from eventlet.green import subprocess

from l3agent.agent.router_events import RequestFailed
from l3agent.exceptions import ApplyError, DataplaneUnavailable
from l3agent.rpc import admin_context
from l3agent.testing import running, wait_until
from tests.support.parts import BROWSER
from tests.support.payloads import a_floating_ip, a_port, a_router
from tests.unit.ops.conftest import Site

pytestmark = pytest.mark.browser

#: A router name that a tenant may choose.
HOSTILE = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
_ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--enable-logging=stderr",
    "--hide-scrollbars",
    "--window-size=1360,1500",
    # Milliseconds of the page's virtual clock, which stops during fetches.
    "--virtual-time-budget=3000",
)


class Shown(HTMLParser):
    """Elements of a page, and the text of each cell of its tables."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.cells: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag == "td":
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        if self.cells:
            self.cells[-1] += data


def browse(port: int, *arguments: str) -> tuple[str, str]:
    """Return the page after its script has run, and the log of the browser."""
    with tempfile.TemporaryDirectory() as folder:
        argv = [BROWSER, *_ARGUMENTS, f"--user-data-dir={folder}", *arguments, f"http://127.0.0.1:{port}/"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, done.stderr


@pytest.fixture
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    site = Site(tmp_path, request.node.name)
    with running(site.http, site.history, site.plugin, site.service):
        wait_until(lambda: site.agent.full_sync.in_sync)
        yield site


@pytest.mark.feature("operation.status-page")
def test_the_page_shows_routers_topology_and_errors_and_what_tenants_wrote_is_text(site: Site) -> None:
    context = admin_context()
    fips = [a_floating_ip("203.0.113.50", "10.0.0.5")]
    site.update(
        a_router(name=HOSTILE, _floatingips=fips),
        a_router(id="c0000001-0000-4000-8000-000000000000", name="plain", _interfaces=[a_port(2)]),
    )
    site.dataplane.fail_next(ApplyError("no room on the bridge"), times=10_000)
    site.agent.routers_updated(context, ["c0000001-0000-4000-8000-000000000000"])
    wait_until(lambda: site.agent.router_info["c0000001-0000-4000-8000-000000000000"].status == "error")
    site.history.record_sample()
    text, output = browse(site.http.port, "--dump-dom")
    assert 'data-drawn="yes"' in text, output
    shown = Shown(text)
    assert HOSTILE in shown.cells and "plain" in shown.cells
    assert "owned" not in re.findall(r"<title>(.*?)</title>", text)[0]
    assert shown.tags.count("script") == 1 and "img" not in shown.tags
    assert not [name for name, _ in shown.attributes if name.startswith("on")]
    assert [cell for cell in shown.cells if cell == "no room on the bridge"]
    assert context.request_id in shown.cells
    # Two routers, one external network, two tenant networks; the charts have axes and points.
    picture = text[text.index('id="topology"') :].split("</svg>")[0]
    assert picture.count("<rect") == 5 and picture.count("<path") == 4
    assert "1 floating IP" in picture
    assert text[text.index('id="latency"') :].split("</svg>")[0].count("<circle") >= 1
    assert "in sync" in text or "synchronising" in text
    assert not [line for line in output.splitlines() if "CONSOLE" in line], output


def test_a_thousand_routers_are_drawn_the_failed_ones_first(site: Site) -> None:
    routers = [a_router(id=f"c{number:07}-0000-4000-8000-000000000000", name=f"r{number}") for number in range(1000)]
    site.update(*routers)
    site.agent.routers._change(routers[777]["id"], RequestFailed(DataplaneUnavailable("out of luck"), False, 0.0))
    text, output = browse(site.http.port, "--dump-dom")
    assert 'data-drawn="yes"' in text, output
    cells = Shown(text).cells
    assert cells[1] == "r777" and "out of luck" in cells
    assert "200 of 1000" in text and "12 of 1000" in text


def test_a_picture_of_it_can_be_taken(site: Site, tmp_path: Path) -> None:
    site.update(a_router())
    picture = tmp_path / "page.png"
    browse(site.http.port, f"--screenshot={picture}")
    assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size > 20_000


def test_the_page_needs_nothing_from_elsewhere(site: Site) -> None:
    page = site.get("/")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "connect-src 'self'" in policy and "unsafe" not in policy
    assert re.findall(r"https?://[^\s\"'`]+", page.text) == ["http://www.w3.org/2000/svg"]
    assert " style=" not in page.text and "innerHTML" not in page.text
