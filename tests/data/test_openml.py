"""The OpenML loader against a local server: good answers, bad answers, broken answers, silence, and the cache."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from weft.config.data import DataConfig
from weft.data import load, openml
from weft.errors import DataError

ROWS = "".join(f"{i},{i * 0.5},{i % 7},{'gqt'[i % 3]}\n" for i in range(120))
ARFF = (
    "@relation jets\n@attribute id integer\n@attribute zlogz real\n@attribute n integer\n@attribute class {g,q,t}\n"
    f"@data\n{ROWS}"
).encode()


class Server(ThreadingHTTPServer):
    """Serves one data set; its attributes say how well."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.body = ARFF
        self.description = {"id": "42468", "name": "jets", "format": "ARFF", "url": f"{self.url}/download/jets.arff",
                            "md5_checksum": hashlib.md5(ARFF).hexdigest(), "default_target_attribute": "class",
                            "row_id_attribute": "id"}  # fmt: skip
        self.requests: list[tuple[str, str | None]] = []
        self.break_after = None  # bytes of a body
        self.ranges = True
        self.silent = threading.Event()  # set: answers do not come, or stop after `break_after`
        self.raw_description = None


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.requests.append((self.path, self.headers.get("Range")))
        if server.silent.is_set() and not server.break_after:
            time.sleep(0.6)
            return
        if self.path == "/api/v1/json/data/42468":
            body = server.raw_description or json.dumps({"data_set_description": server.description}).encode()
            return self.answer(200, body)
        if self.path == "/download/jets.arff":
            return self.file()
        self.answer(412, b'{"error": {"code": "111", "message": "Unknown dataset"}}')

    def file(self):
        body, first = self.server.body, 0
        asked = self.headers.get("Range") if self.server.ranges else None
        if asked:
            first = int(asked.removeprefix("bytes=").rstrip("-"))
            if first >= len(body):
                return self.answer(416, b"")
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - first))
        self.end_headers()
        self.wfile.write(body[first : self.server.break_after])
        if self.server.silent.is_set():
            time.sleep(0.6)

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        monkeypatch.setenv("WEFT_OPENML_URL", server.url + "/")
        monkeypatch.setenv("WEFT_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("no_proxy", "*")
        yield server
        server.shutdown()
        thread.join()


def folder(tmp_path):
    return tmp_path / "cache" / "openml" / "42468"


@pytest.mark.parametrize("config", [DataConfig(name="openml:42468"), DataConfig(openml=42468)])
def test_a_data_set_is_loaded_with_the_target_and_the_columns_that_openml_names(server, tmp_path, config):
    data = load(config)
    assert (data.task, data.class_names, data.feature_names) == ("classification", ("g", "q", "t"), ("zlogz", "n"))
    assert (len(data.train), len(data.validation), len(data.test())) == (78, 18, 24)
    assert data.provenance.sha256 == hashlib.sha256(ARFF).hexdigest()
    assert data.provenance.source == "OpenML data set 42468 (jets)"
    assert data.provenance.notes == ("columns left out as OpenML asks: id",)
    assert sorted(path.name for path in folder(tmp_path).iterdir()) == ["data.arff", "description.json", "lock"]


def test_a_second_load_makes_no_request(server):
    first = load(DataConfig(openml=42468))
    server.requests.clear()
    second = load(DataConfig(openml=42468))
    assert server.requests == []
    np.testing.assert_array_equal(first.train.x, second.train.x)
    assert first.provenance == second.provenance


def test_label_and_features_can_be_chosen(server):
    data = load(DataConfig(openml=42468, label="zlogz", features=["n", "id"], task="regression"))
    assert (data.task, data.feature_names) == ("regression", ("n", "id"))


def test_a_parquet_file_is_read(server, tmp_path):
    pq.write_table(pa.table({"a": np.arange(90.0), "class": np.arange(90) % 3}), tmp_path / "a.parquet")
    server.body = (tmp_path / "a.parquet").read_bytes()
    server.description |= {"format": "parquet", "row_id_attribute": None, "ignore_attribute": []}
    del server.description["md5_checksum"]
    data = load(DataConfig(openml=42468))
    assert data.feature_names == ("a",)
    assert data.provenance.notes == ("OpenML states no checksum for this file",)
    assert load(DataConfig(openml=42468)).provenance == data.provenance


def test_a_wrong_checksum_is_refused_and_leaves_nothing(server, tmp_path):
    server.body = ARFF.replace(b"1,0.5", b"1,0.6")
    with pytest.raises(
        DataError, match=r"data set 42468 from .* has the MD5 [0-9a-f]{32}, but OpenML states [0-9a-f]{32}"
    ):
        load(DataConfig(openml=42468))
    assert [path.name for path in folder(tmp_path).iterdir()] == ["lock"]
    server.body = ARFF
    assert len(load(DataConfig(openml=42468)).train) == 78


def test_an_unknown_number_is_named_with_the_answer(server, tmp_path):
    message = (
        r"cannot download OpenML data set 7 .*: the server answered 412 .* or place the file by hand as .*7/data\.arff"
    )
    with pytest.raises(DataError, match=message):
        openml.fetch(7)


def test_a_missing_file_is_named_with_the_answer(server):
    server.description["url"] = f"{server.url}/gone.arff"
    with pytest.raises(DataError, match=r"the server answered 412 .* for .*/gone\.arff"):
        openml.fetch(42468)


def test_a_download_that_breaks_off_is_not_taken_for_whole_and_is_continued(server, tmp_path):
    server.break_after = 700
    with pytest.raises(
        DataError, match=rf"broke off after 700 of {len(ARFF)} bytes; run the same command again to continue"
    ):
        load(DataConfig(openml=42468))
    assert not (folder(tmp_path) / "data.arff").exists()
    server.break_after = None
    server.requests.clear()
    assert len(load(DataConfig(openml=42468)).train) == 78
    assert ("/download/jets.arff", "bytes=700-") in server.requests
    assert (folder(tmp_path) / "data.arff").read_bytes() == ARFF


def test_a_server_that_cannot_continue_starts_again(server, tmp_path):
    server.break_after = 700
    with pytest.raises(DataError, match=r"broke off after 700"):
        openml.fetch(42468)
    server.break_after, server.ranges = None, False
    assert openml.fetch(42468).path.read_bytes() == ARFF


def test_a_part_that_is_whole_already_is_kept(server, tmp_path):
    folder(tmp_path).mkdir(parents=True)
    (folder(tmp_path) / f"data.arff.{server.description['md5_checksum']}.part").write_bytes(ARFF)
    assert openml.fetch(42468).path.read_bytes() == ARFF


def test_a_damaged_part_is_found_by_its_checksum(server, tmp_path):
    folder(tmp_path).mkdir(parents=True)
    (folder(tmp_path) / f"data.arff.{server.description['md5_checksum']}.part").write_bytes(b"x" * 100)
    with pytest.raises(DataError, match=r"has the MD5"):
        openml.fetch(42468)
    assert openml.fetch(42468).path.read_bytes() == ARFF


def test_a_silent_server_is_given_up(server):
    server.silent.set()
    start = time.monotonic()
    with pytest.raises(DataError, match=r"cannot download OpenML data set 42468 .*: the server was silent for 0\.2 s"):
        openml.fetch(42468, timeout=0.2)
    assert time.monotonic() - start < 2


def test_a_server_that_falls_silent_midway_is_given_up_and_what_came_is_kept(server, tmp_path):
    server.break_after = 700
    server.silent.set()
    with pytest.raises(
        DataError, match=r"the server was silent for 0\.2 s; try again \(a partial download is continued\)"
    ):
        openml.fetch(42468, timeout=0.2)
    assert not (folder(tmp_path) / "data.arff").exists()
    server.silent.clear()
    server.break_after = None
    server.requests.clear()
    assert openml.fetch(42468).path.read_bytes() == ARFF
    assert ("/download/jets.arff", "bytes=700-") in server.requests


def test_a_part_without_a_checksum_is_not_continued(server, tmp_path):
    del server.description["md5_checksum"]
    folder(tmp_path).mkdir(parents=True)
    (folder(tmp_path) / "data.arff.unchecked.part").write_bytes(b"x" * 100)
    assert openml.fetch(42468).path.read_bytes() == ARFF


def test_without_a_network_the_message_says_where_to_place_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(
        DataError, match=r"cannot download .*: ConnectionRefusedError: .*place the file by hand as .*data\.arff"
    ):
        openml.fetch(42468, cache=tmp_path, base_url="http://127.0.0.1:9")


def test_a_file_placed_by_hand_is_used_without_a_request(server, tmp_path, caplog):
    folder(tmp_path).mkdir(parents=True)
    (folder(tmp_path) / "data.arff").write_bytes(ARFF)
    data = load(DataConfig(openml=42468))
    assert server.requests == []
    assert data.provenance.source == "OpenML data set 42468 (placed by hand)"
    assert data.provenance.notes == ("the file was placed by hand and its checksum not verified against OpenML",)
    assert "placed by hand: its checksum is not verified" in caplog.text


def test_a_changed_file_in_the_cache_is_refused(server, tmp_path):
    path = openml.fetch(42468).path
    path.write_bytes(ARFF + b"1,1,1,g\n")
    with pytest.raises(
        DataError, match=r"data\.arff has changed since its download: its MD5 is not OpenML's .*; delete it"
    ):
        openml.fetch(42468)


@pytest.mark.parametrize("answer", [b"<html>maintenance</html>", b'{"data_set_description": {"id": 1}}', b"[]"])
def test_an_answer_that_is_no_description_is_shown(server, answer):
    server.raw_description = answer
    with pytest.raises(
        DataError, match=r"did not answer with a description of a data set but with b'.*; check the number"
    ):
        openml.fetch(42468)


def test_a_sparse_set_is_refused_before_its_download(server):
    server.description["format"] = "Sparse_ARFF"
    with pytest.raises(
        DataError, match=r"data set 42468 has the format 'Sparse_ARFF'; weft reads dense ARFF and Parquet"
    ):
        openml.fetch(42468)
    assert len(server.requests) == 1


def test_an_address_on_this_disk_is_refused(server, tmp_path):
    (tmp_path / "secret").write_bytes(ARFF)
    server.description["url"] = f"file://{tmp_path}/secret"
    with pytest.raises(DataError, match=r"refused to open file://.*: a data set is loaded over http or https"):
        openml.fetch(42468)


def test_two_processes_download_once(server):
    threads = [threading.Thread(target=openml.fetch, args=(42468,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path for path, _ in server.requests].count("/download/jets.arff") == 1
