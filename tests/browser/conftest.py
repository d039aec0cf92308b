"""What the browser tests share: one Chromium, the built book on a local server, no other host."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from built_book import BUILT, SUB_PATH, Handler, Watched
from harness import chromium, mount  # noqa: F401 (fixtures of all tests in this folder)
from live_page import live  # noqa: F401
from playwright.sync_api import Browser, Page

from tools.browser import missing


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder, so that `make unit` leaves them out."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker("browser")


@pytest.fixture(scope="session")
def built() -> Path:
    """The folder of the built book."""
    if not (BUILT / "index.html").exists():
        missing("the book is not built, its pages are NOT tested: run `make book` first")
    return BUILT


@pytest.fixture(scope="session")
def site(built: Path) -> Iterator[str]:
    """The address of the built book on a local server, ending with a slash."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=built))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}{SUB_PATH}"
    server.shutdown()


@pytest.fixture
def visit(chromium: Browser, site: str) -> Iterator[Callable]:  # noqa: F811
    """Open a page of the built book: `with visit("book/index.html", dark=True) as page:`.

    Every other host is refused; `page.asked` lists what was asked for. At the end of the block the page must
    have had no error.
    """

    @contextmanager
    def open_page(
        path: str, *, dark: bool = False, width: int = 1280, height: int = 900, touch: bool = False
    ) -> Iterator[Page]:
        context = chromium.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
            has_touch=touch,
        )
        context.set_default_timeout(120_000)  # a busy machine is slow, and no test is about that
        page = context.new_page()
        watched = Watched(page, site)
        page.asked = watched.asked
        try:
            page.goto(site + path, wait_until="load")
            yield page
        finally:
            context.close()
        assert not watched.complaints, f"{path}: {watched.complaints}"

    return open_page
