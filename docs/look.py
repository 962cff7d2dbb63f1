"""Looks at the built pages in a headless Chromium, on a phone, a laptop and a desk: ``python docs/look.py [--shots FOLDER]``.

Every page is laid out in a frame of each width, light and dark. Frames that are too narrow and images that do not load are listed,
and the exit status is 1 if there are any. ``--shots`` writes a picture of each page, width and theme, to be looked at.
Needs Chromium (``apt install chromium``) and the pages (``make docs``).
"""

from __future__ import annotations

import argparse
import html
import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

SITE = Path(__file__).parents[1] / "build" / "site"
WIDTHS = {"phone": 390, "laptop": 1280, "desk": 1600}
THEMES = ("light", "dark")
AT_ONCE = 4  # pages that one browser lays out
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run")

# A page that loads each of ``jobs`` into a frame, one after the other, and writes down what is wrong with it.
HARNESS = """<!doctype html><body style="margin:0"><pre id="found" hidden></pre><script>
const jobs = JOBS, found = [];
const pause = time => new Promise(done => setTimeout(done, time));
async function look([page, width, height, theme]) {
  localStorage.theme = theme;
  const frame = document.createElement("iframe");
  frame.style = `border:0; display:block; width:${width}px; height:${height}px`;
  const loaded = new Promise(done => { frame.onload = done; });
  frame.src = page;
  document.body.append(frame);
  await loaded;
  const inside = frame.contentDocument, root = inside.documentElement;
  for (const image of inside.images) image.loading = "eager";
  for (let k = 0; k < 40 && ![...inside.images].every(image => image.complete); k++) await pause(50);
  const say = what => found.push(`${page} at ${width}, ${theme}: ${what}`);
  if (root.scrollWidth > width + 1) {
    const wide = [...inside.body.querySelectorAll("*")].filter(e => e.getBoundingClientRect().right > width + 1);
    say(`${root.scrollWidth} wide: ${wide.slice(0, 3).map(e => e.tagName + "." + e.className).join(", ")}`);
  }
  for (const image of inside.images) if (!image.naturalWidth) say(`no image ${image.getAttribute("src")}`);
  if (jobs.length > 1) frame.style.display = "none";
}
(async () => {
  for (const job of jobs) await look(job).catch(error => found.push(`${job[0]}: ${error}`));
  const out = document.getElementById("found");
  out.textContent = JSON.stringify(found);
  out.className = "done";
})();
</script></body>"""


class _Handler(SimpleHTTPRequestHandler):
    """The site, and the harness for the jobs of the query."""

    jobs: Sequence[Any] = ()

    def do_GET(self) -> None:
        if self.path.startswith("/look-"):
            body = HARNESS.replace("JOBS", json.dumps(type(self).jobs)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(body)
        else:
            super().do_GET()

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@contextmanager
def served(site: Path) -> Iterator[tuple[type[_Handler], str]]:
    """The handler, whose ``jobs`` can be set, and the address of the harness."""
    handler = type("Handler", (_Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield handler, f"http://127.0.0.1:{server.server_port}/look-0.html"
    finally:
        server.shutdown()


def found_browser() -> str | None:
    """The path of a Chromium, if there is one."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def browse(browser: str, address: str, *flags: str) -> str:
    """What the browser prints."""
    with tempfile.TemporaryDirectory() as profile:
        command = [browser, *FLAGS, f"--user-data-dir={profile}", *flags, address]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout


def faults(browser: str, site: Path, pages: Sequence[str]) -> list[str]:
    """A line for every overflow and every image that is missing."""
    lines: list[str] = []
    with served(site) as (handler, address):
        for k in range(0, len(pages), AT_ONCE):
            some = pages[k : k + AT_ONCE]
            handler.jobs = [(page, width, 900, theme) for page in some for width in WIDTHS.values() for theme in THEMES]
            text = browse(browser, address, "--virtual-time-budget=60000", "--dump-dom", "--window-size=1400,900")
            found = re.search(r'class="done">(.*?)</pre>', text, re.DOTALL)
            lines += json.loads(html.unescape(found[1])) if found else [f"{', '.join(some)}: not laid out within a minute"]
    return lines


def shoot(browser: str, site: Path, pages: Sequence[str], folder: Path, height: int) -> None:
    """A picture of every page, width and theme."""
    folder.mkdir(parents=True, exist_ok=True)
    with served(site) as (handler, address):
        for page in pages:
            for name, width in WIDTHS.items():
                for theme in THEMES:
                    handler.jobs = [(page, width, height, theme)]
                    file = folder / f"{page.removesuffix('.html').replace('/', '-')}-{name}-{theme}.png"
                    size = f"--window-size={max(width, 500)},{height}"
                    browse(browser, address, f"--screenshot={file}", size, "--virtual-time-budget=4000")


def main() -> int:
    """Print the faults; 1 if there are any."""
    parser = argparse.ArgumentParser(description="Looks at the built pages in a headless Chromium.")
    parser.add_argument("pages", nargs="*", help="such as index.html; all by default")
    parser.add_argument("--site", type=Path, default=SITE)
    parser.add_argument("--shots", type=Path, help="folder for pictures")
    parser.add_argument("--height", type=int, default=1600, help="of the pictures")
    options = parser.parse_args()
    browser = found_browser()
    if browser is None:
        parser.error(f"needs one of {', '.join(BROWSERS)}")
    pages = options.pages or sorted(p.relative_to(options.site).as_posix() for p in options.site.rglob("*.html"))
    pages = [page for page in pages if not page.startswith(("_", "search"))]  # search.html is a form that waits for its words
    found = faults(browser, options.site, pages)
    print("\n".join([*found, f"{len(pages)} pages, {len(found)} faults"]))
    if options.shots:
        shoot(browser, options.site, pages, options.shots, options.height)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
