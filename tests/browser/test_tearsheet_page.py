"""The tear sheet in a real browser: charts are drawn, nothing fails, nothing is fetched."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest

from mqd.report import tearsheet
from tests.unit.report.made_up import report_data

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHARTS = {
    "chart-equity", "chart-price-0", "chart-price-1", "chart-exposure", "chart-rolling-sharpe",
    "chart-costs", "chart-trade-returns",
}  # fmt: skip
WATCH = """<script>
window.seen = {errors: []};
for (const kind of ["error", "warn"]) {
  const say = console[kind];
  console[kind] = (...words) => { window.seen.errors.push(words.join(" ")); say(...words); };
}
const note = text => window.seen.errors.push(text);
window.alert = text => note("a user's word ran: " + text);
addEventListener("error", e => note(e.message || "no " + (e.target.src || e.target.href)), true);
addEventListener("securitypolicyviolation", e => note("blocked " + e.blockedURI));
</script>"""
ASK = """<script>addEventListener("load", () => setTimeout(() => {
  const seen = window.seen;
  seen.fetched = performance.getEntriesByType("resource").map(entry => entry.name);
  seen.paths = {};
  for (const chart of document.querySelectorAll("[id^=chart-]"))
    seen.paths[chart.id] = chart.querySelectorAll(".overplot .trace path[d]").length;
  seen.wider = document.documentElement.scrollWidth - innerWidth;
  const out = document.createElement("pre");
  out.id = "seen"; out.textContent = JSON.stringify(seen);
  document.body.append(out);
}, 1000));</script>"""


def _browser() -> str:
    for name in NAMES:
        found = shutil.which(name)
        if found:
            return found
    return pytest.fail(
        "This test needs Chromium and found none. Install it: apt-get install -y chromium."
    )


def _see(page: str, folder: Path, width: int) -> dict:
    watched = page.replace("<style>", WATCH + "<style>", 1).replace("</body>", ASK + "</body>")
    file = folder / "page.html"
    file.write_text(watched, encoding="utf-8")
    command = [
        _browser(), "--headless", "--no-sandbox", "--disable-gpu",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--no-first-run", "--disable-dev-shm-usage",
        f"--user-data-dir={folder / 'profile'}", f"--window-size={width},2000",
        "--virtual-time-budget=6000", "--dump-dom", file.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    found = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, flags=re.DOTALL)
    assert found, f"the page never finished loading: {done.stderr[-2000:]}"
    return json.loads(unescape(found.group(1)))


@pytest.fixture(scope="module")
def page() -> str:
    return tearsheet.html(report_data())


@pytest.mark.parametrize("width", [1200, 500])
def test_page_draws_every_chart_and_stays_offline(page: str, tmp_path: Path, width: int) -> None:
    seen = _see(page, tmp_path, width)
    assert seen["errors"] == []
    assert seen["fetched"] == []
    assert set(seen["paths"]) == CHARTS
    assert min(seen["paths"].values()) >= 1, seen["paths"]
    assert seen["wider"] <= 0


def test_the_watch_sees_a_page_that_fails_and_fetches(tmp_path: Path) -> None:
    broken = (
        "<!doctype html><html><head><style></style></head><body><div id='chart-x'></div>"
        "<img src='http://127.0.0.1:9/pixel.png'><script>undefinedFunction()</script></body></html>"
    )
    seen = _see(broken, tmp_path, 1200)
    assert any("undefinedFunction" in error for error in seen["errors"])
    assert "no http://127.0.0.1:9/pixel.png" in seen["errors"]
    assert seen["paths"] == {"chart-x": 0}


def test_the_page_itself_forbids_what_would_be_fetched(page: str, tmp_path: Path) -> None:
    image = "<img src='http://127.0.0.1:9/pixel.png'></body>"
    seen = _see(page.replace("</body>", image), tmp_path, 1200)
    assert "blocked http://127.0.0.1:9/pixel.png" in seen["errors"]
