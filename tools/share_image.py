"""Draws the picture that a link to the book shows elsewhere, 1200 x 630: `python -m tools.share_image`."""

from pathlib import Path

from playwright.sync_api import sync_playwright

from tools.browser import FLAGS, find

IMAGES = Path(__file__).parents[1] / "book" / "_static" / "images"
PAGE = """<body style="margin:0; width:1200px; height:630px; background:#fbfbfa; color:#24292f;
font-family:system-ui, sans-serif; display:flex; flex-direction:column; align-items:center; justify-content:center">
<h1 style="margin:0; font-size:64px">Inside <span style="color:#1b7fe0">DINOv2</span></h1>
<p style="margin:4px 0 12px; font-size:26px">
taken apart and put together again, with controls that compute on the page</p>
<div style="width:820px">{hero}</div></body>"""


def main() -> None:
    """Write `share.png` beside the drawing that it shows."""
    hero = (IMAGES / "hero.svg").read_text("utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find(), args=FLAGS)
        page = browser.new_page(viewport={"width": 1200, "height": 630})
        page.set_content(PAGE.format(hero=hero))
        page.screenshot(path=IMAGES / "share.png")
        browser.close()


if __name__ == "__main__":
    main()
