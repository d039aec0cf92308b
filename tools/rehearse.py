"""Publishes the book into a folder, as the publishing workflow does it, with stand-ins for what only a network has.

python -m tools.rehearse                  every step of publish.yml, with all of CIFAR-10 (hours on two cores)
python -m tools.rehearse --pictures 2000  with so many pictures to learn from and twice as many others
python -m tools.rehearse --short          chapter 03 alone, executed, no pages
python -m tools.rehearse --fault cut      the same with a server that has a fault, or (full) no room for a large file

A local server has the files under the paths of the real ones: weights of the right names, shapes and order with random
values, and CIFAR-10 in its authors' archive (the pictures that `DINOV2_EDU_CIFAR10` names, else Patterns10). Their
checksums are handed in through `DINOV2_EDU_MIRROR`, which can make no file pass for a published one. Everything lies
in .cache/rehearsal: a copy of the tracked files and the caches. Recordings are made of the stand-ins, looked at, and
deleted. Says at the end how long it took, how much memory the largest process had, and whether a page shows a notice of
a stand-in that it should not show, or lacks one that it should.
"""

import argparse
import hashlib
import html
import io
import json
import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import torch
import yaml

from dinov2_edu.data import ImageSet, cifar, load_cifar10, patterns10
from dinov2_edu.data.cifar import CIFAR10_CLASSES
from dinov2_edu.experiments.parsers import RECORDING_NAMES
from dinov2_edu.vit import VisionTransformer
from dinov2_edu.weights import WEIGHTS
from tools.at_hand import official_names
from tools.notebooks import FOLDER, read
from tools.origin import NOTICE

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / ".cache" / "rehearsal"
WORKFLOW = ROOT / ".github" / "workflows" / "publish.yml"
FAULTS = ("down", "busy", "wrong", "cut", "slow", "full")
ROOM = "ulimit -f 65536"
"""What bash is told where the disk is full: no file of 64 MiB, less than the smallest weights take."""
SHORT = "03_vit.ipynb"
FEWEST = 2_000
ALLOWED = "which the workflow allows"
MOST_GIB = 12.0
"""Of the largest process; a hosted runner has 16."""
BADGE = re.compile(r'<p class="origin">(.+?)</p>')


def steps_of(workflow: Path = WORKFLOW) -> list[dict]:
    """The commands of the publishing job, in order: `run`, and what else the workflow says of each."""
    job = yaml.safe_load(workflow.read_text("utf-8"))["jobs"]["build"]
    return [step for step in job["steps"] if "run" in step]


def python_of(notebook: Path) -> str:
    """A notebook's code as one module; IPython's own lines become `pass`."""
    code = ["".join(cell["source"]) for cell in read(notebook)["cells"] if cell["cell_type"] == "code"]
    lines = [line for cell in code for line in cell.splitlines()]
    return "\n".join(
        line.replace(line.lstrip(), "pass") if line.lstrip().startswith("%") else line for line in lines
    )


def models() -> list[str]:
    """The official models that the chapters load."""
    return sorted(set().union(*(official_names(python_of(path)) for path in FOLDER.glob("*.ipynb"))))


def recorded_models() -> list[str]:
    """The official models that the recordings are of."""
    return sorted({name.partition("-")[2] for name in RECORDING_NAMES})


def weights_file(name: str) -> bytes:
    """A file like the published one: same tensors, same order, random values."""
    torch.manual_seed(0)
    model = VisionTransformer(WEIGHTS[name].config)
    state = {key: 0.05 * torch.randn_like(value) for key, value in model.state_dict().items()}
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def cifar_archive(train: ImageSet, test: ImageSet) -> bytes:
    """Pictures in the layout of the authors' binary archive: five batches to learn from, one to be tested on."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz", compresslevel=1) as archive:

        def add(name: str, content: bytes) -> None:
            entry = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))

        add("batches.meta.txt", "\n".join([*CIFAR10_CLASSES, ""]).encode())
        shuffled = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))
        for i, rows in enumerate(shuffled.chunk(5), 1):
            add(f"data_batch_{i}.bin", _records(train.subset(rows)))
        add("test_batch.bin", _records(test))
    return file.getvalue()


def _records(images: ImageSet) -> bytes:
    pixels = images.images.flatten(1).numpy()
    return np.hstack([images.labels.numpy().astype(np.uint8)[:, None], pixels]).tobytes()


def pictures(count: int | None) -> tuple[ImageSet, ImageSet]:
    """CIFAR-10 where this machine has it, else Patterns10: `count` pictures to learn from, and twice as many others.

    The chapters and the study want 2,000 to learn from, and 4,000 others: 12 shows up to 320 of a class.
    """
    if os.environ.get("DINOV2_EDU_CIFAR10"):
        train, test = load_cifar10("train"), load_cifar10("test")
        return (train, test) if count is None else (_even(train, count), _even(test, 2 * count))
    return patterns10(count or 2_000), patterns10(2 * (count or 2_000), split="test")


def _even(images: ImageSet, count: int) -> ImageSet:
    """As many of each class, `count` in all."""
    rows = [(images.labels == label).nonzero()[: count // 10, 0] for label in range(10)]
    return images.subset(torch.cat(rows))


@contextmanager
def serve(files: dict[str, bytes], fault: str | None) -> Iterator[str]:
    """A server on this machine that has the files by path, with a fault where one is asked for; gives its address."""

    class Answers(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, *, body: bool) -> None:
            content = files.get(urlsplit(self.path).path)
            if content is None or fault == "busy":
                self.send_error(404 if content is None else 429)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if body:
                self._send(content)

        def _send(self, content: bytes) -> None:
            if fault == "wrong":
                content = content[::-1]
            if fault == "cut":
                content = content[: len(content) // 2]
            try:
                if fault == "slow":
                    for start in range(0, len(content), 100):
                        self.wfile.write(content[start : start + 100])
                        time.sleep(0.1)
                else:
                    self.wfile.write(content)
            except OSError:  # who asked has gone
                pass

        def log_message(self, *_: object) -> None:
            """Keep quiet: the commands' own words are the log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.daemon_threads = True
    address = f"http://127.0.0.1:{server.server_port}"
    if fault == "down":
        server.server_close()  # nobody listens there any longer
        yield address
        return
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield address
    finally:
        server.shutdown()
        server.server_close()


def set_up(address: str, files: dict[str, bytes]) -> dict[str, str]:
    """Copy the tracked files, write the mirror's settings; return the environment of the commands."""
    shutil.rmtree(PLACE / "tree", ignore_errors=True)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (source := ROOT / name).is_file():
            (PLACE / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, PLACE / "tree" / name)
    (PLACE / "tree" / ".venv").symlink_to(Path(sys.prefix))
    facts = {
        Path(path).name: {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        for path, content in files.items()
    }
    (PLACE / "mirror.json").write_text(json.dumps({"server": address, "files": facts}, indent=1))
    kept = {key: value for key, value in os.environ.items() if not key.startswith("DINOV2_EDU_")}
    return kept | {
        "DINOV2_EDU_MIRROR": str(PLACE / "mirror.json"),
        "DINOV2_EDU_CACHE": str(PLACE / "cache"),
        "TORCH_HOME": str(PLACE / "torch"),
        "GITHUB_STEP_SUMMARY": str(PLACE / "summary.md"),
        "PYTHONPATH": str(PLACE / "tree"),
        "JUPYTER_PREFER_ENV_PATH": "1",
        "CI": "true",
    }


def run_steps(environment: dict[str, str], fault: str | None) -> list[str]:
    """Run the workflow's commands in the copy; return what failed."""
    failed: list[str] = []
    for step in steps_of():
        name, limit = step.get("name", step["run"]), 60 * step.get("timeout-minutes", 360)
        print(f"--- {name}", flush=True)
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", in_room(step["run"], fault)]
        start = time.monotonic()
        try:
            code = subprocess.run(
                command, cwd=PLACE / "tree", env=environment, timeout=limit, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            code = -1
        print(f"--- {name}: {time.monotonic() - start:.0f} s, exit code {code}", flush=True)
        if code and not step.get("continue-on-error"):
            return [*failed, f"{name}: exit code {code}"]
        if code:
            failed.append(f"{name}: exit code {code}, {ALLOWED}")
    return failed


def in_room(command: str, fault: str | None) -> str:
    """A command for bash, on a full disk where that is the fault."""
    return f"{ROOM}; {command}" if fault == "full" else command


def notices(short: bool) -> dict[str, list[str]]:
    """The sentences on stand-ins that each page, or the one executed chapter, shows.

    That the rehearsal's own weights and pictures are not the published ones is not among them: that is true.
    """
    tree = PLACE / "tree"
    if short:
        cells = json.loads((tree / "executed.ipynb").read_text("utf-8"))["cells"]
        texts = ["".join(output.get("text", "")) for cell in cells for output in cell.get("outputs", ())]
        shown = {SHORT: "\n".join(texts)}
    else:
        pages = sorted((tree / "_build" / "html" / "notebooks").glob("*.html"))
        shown = {page.name: "\n".join(BADGE.findall(page.read_text("utf-8"))) for page in pages}
    return {name: stand_ins(html.unescape(text)) for name, text in shown.items()}


def stand_ins(text: str) -> list[str]:
    """The sentences of a text that say that something else than the rehearsal's files stands in."""
    sentences = re.split(r"(?=These (?:numbers come from|pictures are) )", text)
    found = [sentence.strip() for sentence in sentences if NOTICE.match(sentence)]
    return [sentence.split("\n")[0] for sentence in found if "DINOV2_EDU_MIRROR" not in sentence]


def recordings_wrong(environment: dict[str, str]) -> list[str]:
    """Have the recordings that the steps made looked at, then delete them; return what is wrong with them."""
    command = [sys.executable, "-m", "dinov2_edu", "recordings", "--check"]
    done = subprocess.run(
        command, cwd=PLACE / "tree", env=environment, check=False, capture_output=True, text=True
    )
    print(done.stdout, flush=True)
    shutil.rmtree(PLACE / "cache" / "recordings", ignore_errors=True)
    said = (done.stdout if done.returncode < 2 else done.stderr).strip().splitlines()
    return [f"recordings: {line}" for line in said if "recorded on" not in line] if done.returncode else []


def rehearse(*, short: bool = False, fault: str | None = None, count: int | None = None) -> list[str]:
    """Rehearse once; return what is wrong, in sentences."""
    names = models() if short else sorted({*models(), *recorded_models()})
    files = {urlsplit(WEIGHTS[name].file.url).path: weights_file(name) for name in names}
    if not short:
        files[urlsplit(cifar.PUBLISHED.url).path] = cifar_archive(*pictures(count))
    shutil.rmtree(PLACE, ignore_errors=True)
    PLACE.mkdir(parents=True)
    start = time.monotonic()
    with serve(files, fault) as address:
        environment = set_up(address, files)
        if short:
            words = [sys.executable, "-m", "jupyter", "nbconvert", "--to", "notebook", "--execute"]
            words += [f"notebooks/{SHORT}", "--output-dir", ".", "--output", "executed.ipynb"]
            command = ["bash", "-c", in_room(shlex.join(words), fault)]
            done = subprocess.run(command, cwd=PLACE / "tree", env=environment, check=False)
            wrong = [f"{SHORT}: exit code {done.returncode}"] if done.returncode else []
        else:
            wrong = run_steps(environment, fault)
            wrong += [sentence for sentence in recordings_wrong(environment) if not fault]
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / (
        2**20 if sys.platform != "darwin" else 2**30
    )
    print(f"{time.monotonic() - start:.0f} s; the largest process had {memory:.1f} GiB")
    if memory > MOST_GIB:
        wrong.append(f"the largest process had {memory:.1f} GiB, more than {MOST_GIB:.0f}")
    if any(": exit code" in sentence and ALLOWED not in sentence for sentence in wrong):
        return wrong
    return wrong + pages_wrong(notices(short), fault)


def pages_wrong(shown: dict[str, list[str]], fault: str | None) -> list[str]:
    """Say which pages show a stand-in where there is none, or none where there is one.

    Args:
        shown: a page's name -> its sentences on stand-ins.
        fault: what keeps the official weights away, if anything does.
    """
    if not fault:
        return [f"{page} says: {sentence}" for page, found in shown.items() for sentence in found]
    official = {path.stem for path in FOLDER.glob("*.ipynb") if official_names(python_of(path))}
    silent = [page for page, found in shown.items() if Path(page).stem in official and not found]
    return [f"{page} does not say what stands in for the official weights" for page in silent]


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.rehearse", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "--short", action="store_true", help="execute one chapter instead of publishing the book"
    )
    parser.add_argument("--fault", choices=FAULTS, help="what is wrong with the server")
    parser.add_argument(
        "--pictures",
        type=int,
        metavar="N",
        help=f"how many pictures CIFAR-10 has to learn from, {FEWEST} to 5000 (default: all)",
    )
    options = parser.parse_args(arguments)
    if options.pictures is not None and not FEWEST <= options.pictures <= 5_000:
        parser.error(
            f"--pictures wants {FEWEST} to 5000, got {options.pictures}: the study learns from {FEWEST}"
        )
    try:
        wrong = rehearse(short=options.short, fault=options.fault, count=options.pictures)
    except KeyboardInterrupt:
        print("stopped; the next rehearsal begins anew")
        return 130
    print("\n".join(wrong) or "nothing is wrong")
    return int(any(not options.fault or ALLOWED not in sentence for sentence in wrong))


if __name__ == "__main__":
    sys.exit(main())
