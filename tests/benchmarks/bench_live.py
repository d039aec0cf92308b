"""The engine in the page beside onnxruntime-web and torch: `python tests/benchmarks/bench_live.py`.

Everything runs on one thread: ours and onnxruntime-web in a worker of a headless Chromium without isolation headers, as
a static page has it, torch here. Prints GFLOP/s of matrix products, milliseconds a picture of the book's model, and
steps a second of the page's presets beside the same step in torch.

onnxruntime-web comes from npm, for the bench alone: `--ort FOLDER` names a folder that holds `node_modules`; without it
`npm install` puts it in a temporary one. Without npm that column stays empty.
"""

import argparse
import base64
import io
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from pairs import chip
from playwright.sync_api import Page, Route, sync_playwright

from dinov2_edu.data import patterns10
from dinov2_edu.training import TrainConfig, build_state, draw_batch, step_generator, train_step
from dinov2_edu.weights import ASSETS, load_backbone, load_state
from dinov2_edu.widgets._base import worker_source
from tools.browser import FLAGS, find

ORIGIN = "http://127.0.0.1:9"  # nobody listens there: every request is answered by `serve`
PRODUCTS = [(65, 128, 384), (257, 128, 512), (1025, 128, 384), (1728, 96, 288), (64, 256, 256)]
SIZES = (32, 64, 128)
BENCH = """
const least = (call, milliseconds) => {
  let best = Infinity;
  for (const start = performance.now(); performance.now() - start < milliseconds;) {
    const from = performance.now();
    call();
    best = Math.min(best, performance.now() - from);
  }
  return best;
};
const tasks = {
  async products({ sizes, simd, milliseconds }) {
    const engine = await Engine.create({ megabytes: 32, simd });
    return sizes.map(([m, k, n]) => {
      const mark = engine.mark();
      const [a, b, c] = [[m, k], [n, k], [m, n]].map((form) => engine.zeros(...form));
      for (const x of [a, b]) x.data.forEach((_, i) => { x.data[i] = Math.sin(i); });
      const repeats = Math.max(1, Math.round(3e8 / (2 * m * n * k)));
      const call = () => { for (let i = 0; i < repeats; i++) engine.product(a, b, c, { tb: true }); };
      const best = least(call, milliseconds);
      engine.release(mark);
      return 2 * m * n * k * repeats / best / 1e6;
    });
  },
  async pictures({ sizes, bytes, milliseconds }) {
    const model = await Model.fromFile(bytes, { mostPixels: 128 * 128 });
    return sizes.map((side) => {
      const pixels = Float32Array.from({ length: 3 * side * side }, (_, i) => Math.sin(i));
      return least(() => {
        model.engine.release(model.base);
        model.backbone.tokens(new Graph(model.engine), pixels, 1, side, side);
      }, milliseconds);
    });
  },
  async steps({ preset, steps }) {
    const engine = await Engine.create({ megabytes: 96 });
    const run = new Run(engine, PRESETS[preset], 0, { pictures: 640, first: 640 });
    for (let i = 0; i < 5; i++) run.next();
    const times = [];
    for (let i = 0; i < steps; i++) {
      const from = performance.now();
      run.next();
      times.push(performance.now() - from);
    }
    const from = performance.now();
    run.knn();
    times.sort((x, y) => x - y);
    return { best: times[0], median: times[steps >> 1], knn: performance.now() - from, config: PRESETS[preset],
      simd: engine.simd, rows: engine.kernels.rows.value };
  },
};
onmessage = async ({ data: { task, ...given } }) => {
  try { postMessage({ result: await tasks[task](given) }); } catch (error) { postMessage({ error: String(error) }); }
};
"""
ORT = """
import * as ort from "/ort/ort.wasm.bundle.min.mjs";
onmessage = async ({ data: { model, name, shape, milliseconds } }) => {
  try {
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.wasmPaths = "/ort/";
    const session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
    const size = shape.reduce((product, n) => product * n, 1);
    const numbers = Float32Array.from({ length: size }, (_, i) => Math.sin(i));
    const feeds = { [name]: new ort.Tensor("float32", numbers, shape) };
    let best = Infinity;
    for (const start = performance.now(); performance.now() - start < milliseconds;) {
      const from = performance.now();
      await session.run(feeds);
      best = Math.min(best, performance.now() - from);
    }
    postMessage({ result: best });
  } catch (error) { postMessage({ error: String(error) }); }
};
"""
ASK = """([source, type, message]) => new Promise((done, failed) => {
  if (message.bytes) message.bytes = Uint8Array.from(atob(message.bytes), (c) => c.charCodeAt(0)).buffer;
  if (message.model) message.model = Uint8Array.from(atob(message.model), (c) => c.charCodeAt(0));
  const worker = new Worker(source, { type });
  worker.onmessage = ({ data }) => {
    worker.terminate();
    if (data.error) failed(new Error(data.error)); else done(data.result);
  };
  worker.onerror = (event) => failed(new Error(event.message));
  worker.postMessage(message);
})"""


def ort_folder(given: Path | None) -> Path | None:
    """The `dist` folder of onnxruntime-web, installed now if need be; None where there is no npm."""
    if given is None:
        if shutil.which("npm") is None:
            return None
        given = Path(tempfile.mkdtemp(prefix="onnxruntime-web-"))
        command = ["npm", "install", "--silent", "--prefix", str(given), "onnxruntime-web@1.30"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return given / "node_modules" / "onnxruntime-web" / "dist"


def open_page(browser, ort: Path | None) -> Page:
    """An empty page; the bench's workers and onnxruntime's files are answered from here."""
    files = {
        "/": ("text/html", b"<!doctype html><title>bench</title>"),
        "/ours.js": ("text/javascript", (worker_source("live/worker.js") + BENCH).encode()),
        "/ort.js": ("text/javascript", ORT.encode()),
    }

    def serve(route: Route) -> None:
        path = route.request.url.removeprefix(ORIGIN)
        kind, body = files.get(path, (None, None))
        if ort is not None and path.startswith("/ort/") and (ort / path[5:]).is_file():
            kind = "application/wasm" if path.endswith(".wasm") else "text/javascript"
            body = (ort / path[5:]).read_bytes()
        if body is None:
            route.fulfill(status=404)
        else:
            route.fulfill(body=body, content_type=kind)

    page = browser.new_page()
    page.set_default_timeout(0)
    page.route("**/*", serve)
    page.goto(f"{ORIGIN}/")
    assert not page.evaluate("crossOriginIsolated")
    return page


def onnx_bytes(module: torch.nn.Module, example: torch.Tensor) -> bytes:
    """A module as an ONNX file."""
    file = io.BytesIO()
    torch.onnx.export(module, (example,), file, input_names=["x"], dynamo=False)
    return file.getvalue()


def milliseconds_of(call: Callable[[], object], seconds: float = 1.0) -> float:
    """Least milliseconds of a call here."""
    call()
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - began)
    return 1e3 * best


class FinalTokens(torch.nn.Module):
    """The book's backbone for pictures of one size, with one tensor as its answer: ONNX has no antialiased bicubic."""

    def __init__(self, side: int) -> None:
        super().__init__()
        book = load_backbone("book")
        weights = book.state_dict() | {"pos_embed": book.positions(*book.grid(side, side))}
        self.model = load_state(replace(book.config, img_size=side), weights, "the book's own")
        self.model.eval()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        tokens = self.model(images)
        return torch.cat([tokens.cls[:, None], tokens.patches], 1)


def products(ours: Callable, peer: Callable | None, seconds: float) -> None:
    """GFLOP/s of x W^T."""
    print(f"\n{'GFLOP/s, m x k x n':24s} {'plain SIMD':>11s} {'relaxed':>9s} {'ort-web':>9s} {'torch':>9s}")
    timed = {"sizes": PRODUCTS, "milliseconds": 1e3 * seconds}
    plain, relaxed = (ours("products", simd=simd, **timed) for simd in ("plain", None))
    for (m, k, n), slow, fast in zip(PRODUCTS, plain, relaxed, strict=True):
        x, layer = torch.randn(m, k), torch.nn.Linear(k, n, bias=False)
        flop = 2e-6 * m * k * n
        web = f"{flop / peer(layer, x):9.1f}" if peer else f"{'-':>9s}"
        here = flop / milliseconds_of(lambda x=x, layer=layer: layer(x), seconds)
        print(f"{f'{m} x {k} x {n}':24s} {slow:11.1f} {fast:9.1f} {web} {here:9.1f}", flush=True)


def pictures(ours: Callable, peer: Callable | None, seconds: float) -> None:
    """Milliseconds for one picture of the book's model."""
    print(f"\n{'ms a picture, book model':24s} {'ours':>9s} {'ort-web':>9s} {'torch':>9s}")
    weights = base64.b64encode((ASSETS / "book.safetensors").read_bytes()).decode()
    found = ours("pictures", sizes=SIZES, bytes=weights, milliseconds=2e3 * seconds)
    for side, milliseconds in zip(SIZES, found, strict=True):
        x, model = torch.randn(1, 3, side, side), FinalTokens(side)
        web = f"{peer(model, x):9.1f}" if peer else f"{'-':>9s}"
        here = milliseconds_of(lambda x=x, model=model: model(x), seconds)
        print(f"{f'{side} x {side} pixels':24s} {milliseconds:9.1f} {web} {here:9.1f}", flush=True)


def steps(ours: Callable, n_steps: int) -> None:
    """Steps a second of the presets, data included; torch trains the same config on pictures of three channels."""
    print(
        f"\n{'steps a second':24s} {'ours':>9s} {'median':>9s} {'torch':>9s} {'ratio':>9s} {'k-NN, ms':>9s}"
    )
    for preset in ("minute", "quick"):
        found = ours("steps", preset=preset, steps=n_steps)
        config = found["config"] | {"vit": found["config"]["vit"] | {"in_channels": 3}}
        state = build_state(TrainConfig.from_dict(config))
        images = patterns10(state.config.batch_size).images
        times = []
        for _ in range(n_steps // 2):
            began = time.perf_counter()
            generator = step_generator(state.config, state.step)
            train_step(state, draw_batch(images, state.config, generator), generator)
            times.append(time.perf_counter() - began)
        here = 1 / statistics.median(times)
        best, median = 1e3 / found["best"], 1e3 / found["median"]
        print(
            f"{preset:24s} {best:9.1f} {median:9.1f} {here:9.1f} {median / here:9.2f} {found['knn']:9.0f}",
            flush=True,
        )
    print(f"kernels: {found['simd']} SIMD, {found['rows']} rows a block")


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ort", type=Path, help="a folder whose node_modules holds onnxruntime-web")
    parser.add_argument("--seconds", type=float, default=1.0, help="time of each measurement")
    parser.add_argument("--steps", type=int, default=40, help="training steps of each preset")
    options = parser.parse_args()
    torch.set_num_threads(1)
    ort = ort_folder(options.ort)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find(), args=FLAGS)
        page = open_page(browser, ort)
        print(f"Chromium {browser.version}, one worker; {chip('cpu')}")

        def ours(task: str, **given) -> object:
            return page.evaluate(ASK, ["/ours.js", "classic", {"task": task, **given}])

        def peer(module: torch.nn.Module, x: torch.Tensor) -> float:
            code = base64.b64encode(onnx_bytes(module, x)).decode()
            message = {
                "model": code,
                "name": "x",
                "shape": list(x.shape),
                "milliseconds": 1e3 * options.seconds,
            }
            return page.evaluate(ASK, ["/ort.js", "module", message])

        products(ours, peer if ort else None, options.seconds)
        pictures(ours, peer if ort else None, options.seconds)
        with torch.enable_grad():
            steps(ours, options.steps)
        browser.close()


if __name__ == "__main__":
    main()
