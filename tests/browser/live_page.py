"""A blank page that has the modules of the engine, for tests that hold its numbers to torch's.

`live.run(script, name=array, ...)` runs the body of an async function in the page. Arrays travel both ways as bytes;
the script finds them as { shape, data }, beside `live`, which holds everything that the engine's modules export.
"""

import base64
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from harness import ORIGIN
from playwright.sync_api import Browser, Page, Route

from dinov2_edu.widgets._base import bundle

HELPERS = """
const KINDS = { float32: Float32Array, float64: Float64Array, uint8: Uint8Array, int32: Int32Array };
const NAMES = new Map(Object.entries(KINDS).map(([name, Kind]) => [Kind, name]));
window.unpack = (value) => {
  if (Array.isArray(value)) return value.map(window.unpack);
  if (value === null || typeof value !== "object") return value;
  if (!value.__array) return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, window.unpack(v)]));
  const bytes = Uint8Array.from(atob(value.__array), (letter) => letter.charCodeAt(0));
  return { shape: value.shape, data: new KINDS[value.kind](bytes.buffer) };
};
window.pack = (value) => {
  if (value instanceof ArrayBuffer) value = new Uint8Array(value);
  if (value instanceof Uint8ClampedArray) value = new Uint8Array(value);
  if (ArrayBuffer.isView(value)) {
    const bytes = new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
    let text = "";
    for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768));
    return { __array: btoa(text), kind: NAMES.get(value.constructor) };
  }
  if (Array.isArray(value)) return value.map(window.pack);
  if (value === null || typeof value !== "object") return Number.isNaN(value) ? null : value;
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, window.pack(v)]));
};
"""


@cache
def modules() -> str:
    """The worker's modules and the page's side of it, as one ES module."""
    return bundle("live/worker.js")


@cache
def client() -> str:
    """The page's side alone, as a widget would have it."""
    return bundle("live/client.js")


def packed(value: Any) -> Any:
    """Arrays as base64, everything else as it is."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        if value.dtype == bool:
            value = value.astype(np.uint8)
        if value.dtype == np.int64:
            value = value.astype(np.int32)
        code = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
        return {"__array": code, "kind": value.dtype.name, "shape": list(value.shape)}
    if isinstance(value, bytes):
        return packed(np.frombuffer(value, np.uint8))
    if isinstance(value, dict):
        return {key: packed(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [packed(one) for one in value]
    return value


def unpacked(value: Any) -> Any:
    """The way back: flat numpy arrays."""
    if isinstance(value, list):
        return [unpacked(one) for one in value]
    if not isinstance(value, dict):
        return value
    if "__array" in value:
        return np.frombuffer(base64.b64decode(value["__array"]), value["kind"])
    return {key: unpacked(one) for key, one in value.items()}


class LivePage:
    """The page; a script of `run` sees `live`, its arguments by name, and `startLive`."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def run(self, script: str, **given: Any) -> Any:
        """The result of the body of an async function."""
        names = ", ".join(given)
        call = f"""async ([modules, client, given]) => {{
            const load = (text) => import(URL.createObjectURL(new Blob([text], {{ type: "text/javascript" }})));
            const live = (window.__live ??= await load(modules));
            const {{ startLive }} = (window.__client ??= await load(client));
            const body = async ({{ {names} }}) => {{ {script} }};
            return window.pack(await body(window.unpack(given)));
        }}"""
        return unpacked(self.page.evaluate(call, [modules(), client(), packed(given)]))


@pytest.fixture(scope="module")
def live(chromium: Browser) -> Iterator[LivePage]:
    """One page for a module's tests. A console error or a request for another host fails it."""
    complaints: list[str] = []

    def serve(route: Route) -> None:
        if route.request.url == f"{ORIGIN}/":
            route.fulfill(body="<!doctype html><title>live</title>", content_type="text/html")
        elif route.request.url.endswith("/favicon.ico"):
            route.fulfill(status=204)
        else:
            complaints.append(f"asked another host: {route.request.url}")
            route.abort()

    context = chromium.new_context()
    context.set_default_timeout(300_000)  # a busy machine is slow, and no test is about that
    page = context.new_page()
    page.on("pageerror", lambda error: complaints.append(f"uncaught {error}"))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.route("**/*", serve)
    page.goto(f"{ORIGIN}/")
    page.add_script_tag(content=HELPERS)
    yield LivePage(page)
    context.close()
    assert not complaints, complaints
