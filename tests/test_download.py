"""No server, no disk and no other process brings a wrong file to its name, an endless wait, or less than a sentence."""

import contextlib
import errno
import hashlib
import multiprocessing
import os
import random
import re
import socket
import socketserver
import threading
import time
from dataclasses import dataclass, replace

import pytest

from dinov2_edu.data import download, remote
from dinov2_edu.data.download import NotFetched, fetch
from dinov2_edu.data.remote import RemoteFile, cache_dir, mirrored, offline

CONTENT = random.Random(0).randbytes(300_000)
SIZE = len(CONTENT)
HALF = SIZE // 2
LOGIN = b"<html>Please log in</html>"
OTHER = bytes(SIZE)


# --- a server that does what it is told


@dataclass
class Asked:
    """One connection: what the client wants, and how to answer."""

    send: object
    start: int  # first byte asked for
    let_go: threading.Event

    def answer(self, body=None, *, status="200 OK", length=None, cut=None, headers=()):
        """Send a whole answer; `length` False leaves Content-Length out, text or a number says what it says."""
        body = CONTENT if body is None else body
        said = len(body) if length is None else length
        lines = [f"HTTP/1.1 {status}", *headers, *([] if said is False else [f"Content-Length: {said}"])]
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body[:cut])

    def rest(self, body=None, *, cut=None, start=None, length=None, headers=None):
        """Answer a range honestly, as far as nothing else is said."""
        body = CONTENT if body is None else body
        start = self.start if start is None else start
        if not start:
            return self.answer(body, cut=cut, length=length)
        if start >= len(body):
            return self.answer(b"", status="416 Range Not Satisfiable")
        told = [f"Content-Range: bytes {start}-{len(body) - 1}/{len(body)}"] if headers is None else headers
        return self.answer(body[start:], status="206 Partial Content", cut=cut, length=length, headers=told)

    def stall(self):
        self.let_go.wait(20)

    def endless(self, head, block, pause=0.0):
        self.send(head)
        with contextlib.suppress(OSError):
            while not self.let_go.wait(pause):
                self.send(block)

    def chunked(self, *parts, end=b"0\r\n\r\n"):
        self.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for part in parts:
            self.send(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        self.send(end)


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.rfile.readline() or b"\r\n\r\n"
        found = re.search(rb"Range: bytes=(\d+)-", head)
        start = int(found[1]) if found else 0
        self.server.asked.append(start)
        with contextlib.suppress(OSError):
            self.server.turn()(Asked(self.request.sendall, start, self.server.let_go))


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 50

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.plays, self.asked, self.let_go = [], [], threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/a/file.bin"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def turn(self):
        """The play for this connection: the last one is repeated, and without any all goes well."""
        return (self.plays.pop(0) if len(self.plays) > 1 else self.plays[0]) if self.plays else Asked.rest

    def file(self, **changes):
        return replace(RemoteFile(self.url, hashlib.sha256(CONTENT).hexdigest(), SIZE), **changes)

    def handle_error(self, *_):
        pass


@pytest.fixture
def server():
    with Server() as running:
        yield running
        running.let_go.set()
        running.shutdown()


@pytest.fixture(autouse=True)
def short_limits(monkeypatch, tmp_path):
    monkeypatch.setattr(download, "_SILENCE", 5.0)
    monkeypatch.setattr(download, "_WINDOW", 5.0)
    monkeypatch.setenv("DINOV2_EDU_CACHE", str(tmp_path / "cache"))
    for name in ("DINOV2_EDU_OFFLINE", "DINOV2_EDU_MIRROR"):
        monkeypatch.delenv(name, raising=False)


def get(server, folder, **changes):
    return fetch(server.file(**changes), folder, progress=False)


def left(folder):
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


# --- what servers do: (plays, what is kept before, facts known; then: "arrives" or a part of the sentence, bytes kept)

SLOW = r"never answers|letter by letter|continues|silent|byte by byte"
UNKNOWN = {"size": None, "at_most": SIZE + 1000}
HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def says(status, *headers):
    return lambda asked: asked.answer(b"no", status=status, headers=headers)


def raw(*parts):
    return lambda asked: [asked.send(part) for part in parts]


def with_length(said):
    return lambda asked: asked.answer(length=said)


def reset(asked):
    """Send a third and break the connection off with a reset."""
    asked.answer(cut=SIZE // 3)
    asked.send.__self__.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    asked.send.__self__.close()


FLIPPED = CONTENT[:1000] + bytes([CONTENT[1000] ^ 1]) + CONTENT[1001:]
whole = Asked.rest
ignores_range = Asked.answer
login = lambda asked: asked.answer(LOGIN)  # noqa: E731
login_unsized = lambda asked: asked.answer(LOGIN, length=False)  # noqa: E731

SERVERS = {
    # it goes well
    "all in one": ([whole], 0, {}, "arrives", 0),
    "no size known": ([whole], 0, UNKNOWN, "arrives", 0),
    "no length said": ([lambda a: a.answer(length=False)], 0, UNKNOWN, "arrives", 0),
    "chunked": ([lambda a: a.chunked(CONTENT[:99], CONTENT[99:])], 0, UNKNOWN, "arrives", 0),
    "redirected": ([says("302 Found", "Location: /b"), whole], 0, {}, "arrives", 0),
    "resumed from before": ([whole], HALF, {}, "arrives", 0),
    "resumed, no size known": ([whole], HALF, UNKNOWN, "arrives", 0),
    "kept part is whole": ([says("500 Error")], SIZE, {}, "arrives", 0),
    "kept part is whole, no size known": ([whole], SIZE, UNKNOWN, "arrives", 0),
    "breaks off twice": ([lambda a: a.rest(cut=9000), lambda a: a.rest(cut=7000), whole], 0, {}, "arrives", 0),
    "is reset": ([reset, whole], 0, {}, "arrives", 0),
    "cannot resume": ([lambda a: a.answer(cut=9000), ignores_range], 0, {}, "arrives", 0),
    "cannot resume, cut": ([ignores_range], HALF, UNKNOWN, "arrives", 0),
    "right, then more than was asked for": (
        [lambda a: a.answer(CONTENT + b"more", length=False)], 0, {}, "arrives", 0),
    "right, then endless": ([lambda a: a.endless(HEAD + b"\r\n" + CONTENT, b"x" * 9999)], 0, {}, "arrives", 0),
    # it says no
    **{f"says {code}": ([says(f"{code} No")], 0, {}, f"the server says {code} No", 0)
       for code in (400, 401, 403, 404, 407, 410, 416, 418, 451, 500, 502, 504)},
    "is too busy": ([says("429 Too Many", "Retry-After: 30")], 0, {}, "429 Too Many: try again in 30 seconds", 0),
    "is too busy until a date": (
        [says("503 Full", "Retry-After: Fri, 31 Dec 2027 23:59:59 GMT")], 0, {}, "503 Full: try again later", 0),
    "says no with something kept": ([says("403 No")], HALF, {}, "403", HALF),
    "redirects for ever": ([says("302 Found", "Location: /a")], 0, {}, "302", 0),
    "redirects to a file": ([says("302 Found", "Location: file:///etc/passwd")], 0, {}, "302", 0),
    "redirects to no address": ([says("302 Found", "Location: http://[::1")], 0, {}, "connection failed", 0),
    "redirects nowhere": ([says("302 Found")], 0, {}, "302", 0),
    # it does not speak HTTP
    "closes at once": ([raw()], 0, {}, "does not speak HTTP", 0),
    "speaks another language": ([raw(b"220 smtp ready\r\n")], 0, {}, "does not speak HTTP", 0),
    "sends noise": ([raw(CONTENT[:500])], 0, {}, "does not speak HTTP", 0),
    "an odd status": ([raw(b"HTTP/1.1 abc OK\r\n\r\n")], 0, {}, "does not speak HTTP", 0),
    "an endless header line": ([raw(HEAD + b"X: " + b"x" * 70_000)], 0, {}, "does not speak HTTP", 0),
    "too many headers": ([raw(HEAD + b"X: y\r\n" * 500 + b"\r\n")], 0, {}, "does not speak HTTP", 0),
    "no content": ([says("204 No Content")], 0, {}, "announces 2 bytes", 0),
    # it is slow or silent
    "never answers": ([Asked.stall], 0, {}, "nothing came from the server", 0),
    "header letter by letter": ([lambda a: a.endless(HEAD + b"X: ", b"y", 0.05)], 0, {}, "nothing came", 0),
    "continues for ever": (
        [lambda a: a.endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.02)], 0, {}, "nothing came", 0),
    "falls silent": ([lambda a: (a.answer(cut=HALF), a.stall()), Asked.stall], 0, {}, "are kept", HALF),
    "byte by byte": ([lambda a: a.endless(HEAD + b"\r\n", b"x", 0.02)], 0, {}, "fewer than", None),
    # it says odd lengths
    **{f"length {said!r:.12}": ([with_length(said)], 0, {}, "arrives", 0)
       for said in ("abc", "-5", "", "1e3", "\xb2", "0x10", "9" * 5000, f"+{SIZE}", f"{SIZE}, {SIZE}", f" {SIZE} ")},
    "length too small": ([with_length(SIZE - 1)], 0, {}, "announces 299,999 bytes, not 300,000", 0),
    "length too large": ([with_length(SIZE + 1)], 0, {}, "announces 300,001 bytes", 0),
    "length too small, size unknown": ([with_length(SIZE - 1)], 0, UNKNOWN, "SHA-256", 0),
    "length too large, size unknown": ([with_length(SIZE + 1), whole], 0, UNKNOWN, "arrives", 0),
    "length of a terabyte": ([with_length(10**12)], 0, UNKNOWN, "announces 1,000,000,000,000 bytes, not at most", 0),
    "two lengths": ([lambda a: a.answer(headers=["Content-Length: 7"])], 0, {}, "announces 7 bytes", 0),
    # chunks
    "cut in a chunk": ([raw(CHUNKED + b"fff\r\nabc")], 0, {}, "HTTP|kept", None),
    "a chunk of negative size": ([raw(CHUNKED + b"-5\r\nabc")], 0, UNKNOWN, "", None),
    "a chunk of no size": ([raw(CHUNKED + b"zz\r\nabc")], 0, {}, "does not speak HTTP", 0),
    "chunks without an end": ([lambda a: a.chunked(CONTENT, end=b"")], 0, {}, "arrives", 0),
    # it sends something else
    "a login page": ([login], 0, {}, "announces 26 bytes, not 300,000: a proxy or a login page", 0),
    "a login page, size unknown": ([login], 0, UNKNOWN, "another file .its SHA-256 .* was removed", 0),
    "a login page without length": ([login_unsized], 0, {}, "another file .of 26 bytes", 0),
    "nothing": ([lambda a: a.answer(b"")], 0, UNKNOWN, "another file", 0),
    "another file": ([lambda a: a.answer(OTHER)], 0, {}, "SHA-256", 0),
    "one bit": ([lambda a: a.answer(FLIPPED)], 0, {}, "SHA-256", 0),
    "a byte less": ([lambda a: a.answer(CONTENT[:-1], length=False)], 0, {}, "of 299,999 bytes", 0),
    "zipped": ([lambda a: a.answer(OTHER, headers=["Content-Encoding: gzip"])], 0, {}, "SHA-256", 0),
    "endless": ([lambda a: a.endless(HEAD + b"\r\n", b"x" * 9999)], 0, {}, "SHA-256", 0),
    "endless, size unknown": ([lambda a: a.endless(HEAD + b"\r\n", b"x" * 9999)], 0, UNKNOWN, "SHA-256", 0),
    # it resumes oddly
    "a login page on resume": ([login], HALF, {}, "login page", HALF),
    "a login page on resume, size unknown": ([login], HALF, UNKNOWN, "login page", HALF),
    "a login page without length on resume": ([login_unsized], HALF, UNKNOWN, "login page", HALF),
    "another file on resume": ([lambda a: a.answer(OTHER)], HALF, {}, "SHA-256", HALF),
    "all again, but less than was kept": ([lambda a: a.answer(cut=HALF // 2)], HALF, {}, "closed after", HALF),
    "all again, more than was kept": ([lambda a: a.answer(cut=HALF + 9), says("500 No")], HALF, {}, "500", HALF + 9),
    "another part": ([lambda a: a.rest(start=7)], HALF, {}, "sends from byte 7 on, not 150,000", HALF),
    "a part it does not name": ([lambda a: a.rest(headers=[])], HALF, {}, "arrives", 0),
    "all again, called a part": (
        [lambda a: a.answer(status="206 P", headers=["Content-Range: bytes 0-"])], HALF, {}, "arrives", 0),
    "a part that is named oddly": (
        [lambda a: a.rest(headers=["Content-Range: pages 3-4"])], HALF, {}, "arrives", 0),
    "a part that is not": ([lambda a: a.rest(OTHER), whole], HALF, {}, "arrives", 0),
    "nothing more, though there is": ([lambda a: a.rest(b"x")], HALF, {}, "416", HALF),
    "endless on resume": (
        [lambda a: a.endless(b"HTTP/1.1 206 P\r\nContent-Range: bytes %d-\r\n\r\n" % HALF, b"x" * 9999), whole],
        HALF, {}, "arrives", 0),
    # what was kept is no part of it
    "kept junk": ([whole], OTHER[:HALF], {}, "arrives", 0),
    "kept junk, cannot resume": ([ignores_range], OTHER[:HALF], {}, "arrives", 0),
    "kept junk, as long as the file": ([whole], OTHER, {}, "arrives", 0),
    "kept junk, longer than the file": ([whole], OTHER + b"more", {}, "arrives", 0),
    "kept junk, longer, size unknown": ([whole], OTHER + b"more", UNKNOWN, "arrives", 0),
    "kept junk, far longer, size unknown": ([whole], OTHER + OTHER, UNKNOWN, "arrives", 0),
    "kept junk, and the server has junk": ([lambda a: a.rest(OTHER)], OTHER[:HALF], {}, "SHA-256", 0),
}  # fmt: skip


def attack(server, folder, name):
    """Play one row of the table; return the path or the sentence."""
    plays, kept, facts, _, _ = SERVERS[name]
    server.plays = list(plays)
    folder.mkdir()
    if kept:
        (folder / "file.bin.part").write_bytes(CONTENT[:kept] if isinstance(kept, int) else kept)
    try:
        return get(server, folder, **facts)
    except NotFetched as error:
        return str(error)


@pytest.mark.parametrize("name", SERVERS)
def test_whatever_a_server_does_the_file_is_right_or_a_sentence_says_why_not(
    server, tmp_path, monkeypatch, name
):
    *_, facts, wanted, kept = SERVERS[name]
    if re.search(SLOW, name):
        monkeypatch.setattr(download, "_SILENCE", 0.3)
        monkeypatch.setattr(download, "_WINDOW", 0.3)
    folder = tmp_path / "files"
    found = attack(server, folder, name)
    if wanted == "arrives":
        assert found == folder / "file.bin" and found.read_bytes() == CONTENT
        assert left(folder) == ["file.bin"]
        return
    assert re.search(wanted, str(found)) and "Errno" not in found and "\n" not in found
    assert not (folder / "file.bin").exists()
    part = folder / "file.bin.part"
    if kept is not None:
        assert left(folder) == (["file.bin.part"] if kept else [])
        assert (part.read_bytes() if kept else b"") == CONTENT[:kept]
    monkeypatch.setattr(download, "_SILENCE", 5.0)
    monkeypatch.setattr(download, "_WINDOW", 5.0)
    server.plays = []  # and when the server has come to its senses, all is well at the next call
    assert get(server, folder, **facts).read_bytes() == CONTENT and left(folder) == ["file.bin"]


@pytest.mark.parametrize("seed", range(12))
def test_any_mixture_of_faults_ends_well(server, tmp_path, seed):
    """What is kept passes from one misbehaving server to the next; the file is never wrong, and comes in the end."""
    draw = random.Random(seed)
    quick = [
        name for name in SERVERS if not re.search("silent|letter|byte by|never|for ever|length '9", name)
    ]
    for _ in range(8):
        plays, _, _, _, _ = SERVERS[draw.choice(quick)]
        server.plays = list(plays)
        with contextlib.suppress(NotFetched):
            assert get(server, tmp_path, **draw.choice([{}, UNKNOWN])).read_bytes() == CONTENT
            (tmp_path / "file.bin").unlink()
    server.plays = []
    assert get(server, tmp_path).read_bytes() == CONTENT


# --- what lies on the disk


def link(path, folder):
    (folder / "victim").write_bytes(b"dear")
    path.symlink_to(folder / "victim")


PLACES = {
    "folder": lambda path, folder: path.mkdir(),
    "link": link,
    "dangling link": lambda path, folder: path.symlink_to(folder / "nowhere"),
    "circular link": lambda path, folder: path.symlink_to(path),
    "pipe": lambda path, folder: os.mkfifo(path),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("end", ["", ".part", ".anew", ".lock"])
def test_what_is_no_plain_file_is_left_alone(server, tmp_path, place, end):
    path = tmp_path / f"file.bin{end}"
    PLACES[place](path, tmp_path)
    with pytest.raises(
        NotFetched, match=rf"file\.bin{re.escape(end)} is there and is not a plain file: remove it"
    ):
        get(server, tmp_path)
    assert os.path.lexists(path) and server.asked == []
    if place == "link":
        assert (tmp_path / "victim").read_bytes() == b"dear"


def test_a_link_to_the_right_file_is_as_good_as_the_file(server, tmp_path):
    (tmp_path / "elsewhere").write_bytes(CONTENT)
    (tmp_path / "file.bin").symlink_to(tmp_path / "elsewhere")
    assert get(server, tmp_path) == tmp_path / "file.bin" and server.asked == []


def test_a_wrong_file_stays_until_the_right_one_is_there(server, tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(b"mine")
    server.plays = [says("404 No")]
    with pytest.raises(NotFetched, match="404"):
        get(server, tmp_path)
    assert path.read_bytes() == b"mine"
    server.plays = []
    assert get(server, tmp_path).read_bytes() == CONTENT


def fail(error):
    def raises(*_, **__):
        raise error

    return raises


def test_a_folder_that_cannot_be(server, tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "deeper", tmp_path / ("x" * 300)):
        with pytest.raises(NotFetched, match="could not be read or written: "):
            get(server, folder)


@pytest.mark.parametrize("where", ["disk_usage", "open"])
def test_a_full_disk_is_not_taken_for_a_dead_network(server, tmp_path, monkeypatch, where):
    if where == "open":
        monkeypatch.setattr(download, "_write", fail(OSError(errno.ENOSPC, "No space left on device")))
    else:
        monkeypatch.setattr(download.shutil, "disk_usage", lambda path: Room)
    with pytest.raises(NotFetched, match=r"No space left|has room for 10 bytes and 300,000 are to come"):
        get(server, tmp_path)


class Room:
    free = 10


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied"), NotImplementedError("no locks here")]
)
def test_a_file_that_may_not_be_read_or_locked(server, tmp_path, monkeypatch, error):
    monkeypatch.setattr(download, "FileLock" if error.args[0] != 13 else "_fault", fail(error))
    with pytest.raises(NotFetched, match=r"could not be read or written: (Permission denied|no locks here)"):
        get(server, tmp_path)


# --- several at once


def test_threads_fetch_once(server, tmp_path):
    found = []
    threads = [threading.Thread(target=lambda: found.append(get(server, tmp_path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.read_bytes() == CONTENT for path in found] == [True] * 4 and server.asked == [0]


def fetch_apart(file, folder):
    """Fetch in a process of its own, as each rank of a run does."""
    process = multiprocessing.get_context("fork").Process(
        target=fetch, args=(file, folder), kwargs={"progress": False}
    )
    process.start()
    return process


def test_of_several_processes_one_fetches_and_the_others_read(server, tmp_path):
    def slowly(asked):
        time.sleep(0.3)
        asked.rest()

    server.plays = [slowly]
    ranks = [fetch_apart(server.file(), tmp_path) for _ in range(3)]
    for rank in ranks:
        rank.join()
    assert [rank.exitcode for rank in ranks] == [0, 0, 0] and server.asked == [0]
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_what_a_killed_process_fetched_is_kept(server, tmp_path):
    server.plays = [lambda asked: (asked.answer(cut=HALF), asked.stall())]
    rank = fetch_apart(server.file(), tmp_path)
    while not (tmp_path / "file.bin.part").exists() or (tmp_path / "file.bin.part").stat().st_size < HALF:
        assert rank.is_alive()
        time.sleep(0.01)
    rank.kill()
    rank.join()
    server.plays = []
    assert get(server, tmp_path).read_bytes() == CONTENT and server.asked == [0, HALF]


def test_a_process_that_never_ends_is_not_waited_for(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "_SLOWEST", 10**9)
    monkeypatch.setattr(download, "_WINDOW", 0.01)
    with (
        download.FileLock(tmp_path / "file.bin.lock"),
        pytest.raises(NotFetched, match="another process has been fetching"),
    ):
        get(server, tmp_path)


# --- the network


def test_no_server_and_no_network(tmp_path, monkeypatch):
    file = RemoteFile("http://127.0.0.1:9/file.bin", "0" * 64, 10)
    with pytest.raises(NotFetched, match=r"^the server refused the connection$"):
        fetch(file, tmp_path)
    monkeypatch.setattr(socket, "getaddrinfo", fail(socket.gaierror(-2, "Name or service not known")))
    with pytest.raises(NotFetched, match=r"^there seems to be no network$"):
        fetch(file, tmp_path)
    monkeypatch.setattr(download, "_SILENCE", 0.2)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(1.5))
    with pytest.raises(NotFetched, match=r"^nothing came from the server for 0\.2 seconds$"):
        fetch(file, tmp_path)
    assert left(tmp_path) == []


def test_progress_is_shown(server, tmp_path, capsys):
    fetch(server.file(), tmp_path)
    assert "file.bin" in capsys.readouterr().err


# --- settings


@pytest.mark.parametrize("said", ["1", "true", "YES", " on "])
def test_offline_asks_no_server(server, tmp_path, monkeypatch, said):
    monkeypatch.setenv("DINOV2_EDU_OFFLINE", said)
    with pytest.raises(NotFetched, match=r"^DINOV2_EDU_OFFLINE is set$"):
        get(server, tmp_path)
    (tmp_path / "file.bin").write_bytes(b"cut")
    with pytest.raises(
        NotFetched, match=r"file\.bin is another file \(of 3 bytes, not 300,000\), and DINOV2_EDU_OFF"
    ):
        get(server, tmp_path)
    (tmp_path / "file.bin").write_bytes(CONTENT)
    assert get(server, tmp_path) == tmp_path / "file.bin" and server.asked == []


@pytest.mark.parametrize("said", ["", "0", "False", "no", "OFF"])
def test_offline_is_not_set_by_a_no(monkeypatch, said):
    monkeypatch.setenv("DINOV2_EDU_OFFLINE", said)
    assert not offline()


@pytest.mark.bad_input
def test_offline_takes_no_riddles(monkeypatch):
    monkeypatch.setenv("DINOV2_EDU_OFFLINE", "perhaps")
    with pytest.raises(ValueError, match="must be 1, true, yes, on or 0, false, no, off, got 'perhaps'"):
        offline()


@pytest.mark.parametrize("name", ["DINOV2_EDU_CACHE", "XDG_CACHE_HOME", "HOME"])
def test_the_cache_may_be_named_from_the_home_folder(monkeypatch, tmp_path, name):
    monkeypatch.delenv("DINOV2_EDU_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    if name != "HOME":
        monkeypatch.setenv(name, "~/mine")
    where = {"DINOV2_EDU_CACHE": "mine", "XDG_CACHE_HOME": "mine/dinov2_edu", "HOME": ".cache/dinov2_edu"}
    assert cache_dir() == tmp_path / where[name]
    assert remote.shown(cache_dir() / "x") == f"~/{where[name]}/x"


def write_mirror(folder, monkeypatch, text):
    (folder / "mirror.json").write_text(text)
    monkeypatch.setenv("DINOV2_EDU_MIRROR", str(folder / "mirror.json"))


def test_a_mirror_serves_the_published_file_and_no_other(server, tmp_path, monkeypatch):
    base = server.url.removesuffix("/a/file.bin")
    published = server.file(url="https://example.org/a/file.bin")
    write_mirror(tmp_path, monkeypatch, f'{{"server": "{base}/"}}')
    there = mirrored(published)
    assert there == replace(published, url=server.url) and not there.stand_in
    assert fetch(there, tmp_path / "files").read_bytes() == CONTENT
    server.plays = [lambda asked: asked.answer(OTHER)]
    with pytest.raises(NotFetched, match="SHA-256"):
        fetch(there, tmp_path / "others")


def test_a_stand_in_has_a_checksum_a_name_and_a_folder_of_its_own(server, tmp_path, monkeypatch):
    base, sha256 = server.url.removesuffix("/a/file.bin"), hashlib.sha256(OTHER[:50]).hexdigest()
    published = server.file(url="https://example.org/a/file.bin")
    own = f'{{"file.bin": {{"sha256": "{sha256}", "size": 50}}}}'
    write_mirror(tmp_path, monkeypatch, f'{{"server": "{base}", "files": {own}}}')
    server.plays = [lambda asked: asked.answer(OTHER[:50])]
    there = mirrored(published)
    path = fetch(there, tmp_path / "files")
    assert there.stand_in and path.read_bytes() == OTHER[:50]
    assert path == tmp_path / "files" / f"stand-in-{sha256[:16]}" / "file.bin"
    monkeypatch.delenv("DINOV2_EDU_MIRROR")
    assert mirrored(published) == published  # and without the setting the stand-in is not even seen
    assert not (tmp_path / "files" / "file.bin").exists()


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", '{"server": 3}', '{"server": "ftp://x"}', '{"server": "http://x", "files": []}',
        '{"server": "http://x", "files": {"file.bin": {}}}',
        '{"server": "http://x", "files": {"file.bin": {"sha256": "abc", "size": 3}}}',
        '{"server": "http://x", "files": {"file.bin": {"sha256": null, "size": 3}}}',
        '{"server": "http://x", "files": {"file.bin": {"sha256": "' + "0" * 64 + '", "size": 0}}}',
    ],
)  # fmt: skip
def test_a_mirror_that_makes_no_sense_is_refused(server, tmp_path, monkeypatch, text):
    write_mirror(tmp_path, monkeypatch, text)
    with pytest.raises(ValueError, match=r"DINOV2_EDU_MIRROR is .*wanted a JSON file like"):
        mirrored(server.file())
    monkeypatch.setenv("DINOV2_EDU_MIRROR", str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="FileNotFoundError"):
        mirrored(server.file())


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "facts", [{"sha256": ""}, {"sha256": "abc"}, {"sha256": "Z" * 64}, {"size": None}, {"size": 0}]
)
def test_facts_that_are_none(server, facts):
    with pytest.raises(ValueError, match=r"64 digits|must be above 0"):
        server.file(**facts)
