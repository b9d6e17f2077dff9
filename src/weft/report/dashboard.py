"""One local server for a run: its report, rendered anew when the run has changed, and Optuna's dashboard on its study.

A run that is watched is not touched: the report is rendered in memory, the storage that Optuna's dashboard sees refuses
to be written, and the server answers nothing but questions (GET), so that its buttons cannot change a search. On the
loopback it answers only to names of this machine, so that no page of the web can read along under another name.
"""

from __future__ import annotations

import json
import logging
import mimetypes
import os
import threading
import time
from collections.abc import Callable, Iterable
from http import HTTPStatus
from importlib.resources import files
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from weft.errors import ConfigError, ToolNotFoundError
from weft.report.html import Figures, page, report_of
from weft.report.text import grouped
from weft.run.directory import Run
from weft.run.summary import status_of

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment
    from optuna.study._frozen import FrozenStudy

LOOPBACK = ("127.0.0.1", "localhost", "::1")

log = logging.getLogger(__name__)


class Dashboard:
    """The WSGI application: `/` both pages in one, `/report`, `/figures/...`, `/state`, and Optuna's `/dashboard`.

    Args:
        run: The run directory.
        style: As in `write_report`.
        hosts: Names that a request may ask for; any where empty.

    Raises:
        ToolNotFoundError: optuna-dashboard is not installed.
    """

    def __init__(self, run: Run, style: str | None = None, hosts: Iterable[str] = LOOPBACK) -> None:
        try:
            from optuna_dashboard import wsgi
        except ImportError as error:
            raise ToolNotFoundError(
                "weft dashboard needs optuna-dashboard, which is not installed: pip install 'weft[dashboard]'; "
                f"'weft report {run.path}' writes the report without it"
            ) from error
        self._run, self._path, self._style, self._hosts = run, run.path, style, frozenset(hosts)
        self._wsgi: Callable[[Any], WSGIApplication] = wsgi
        self._name = run.experiment.name
        self._html, self._figures, self._version, self._error = "", Figures(), 0, ""
        self._seen: tuple[Stamp, str] | None = None
        self._study: tuple[int, Any, WSGIApplication] | None = None
        self._lock = threading.Lock()

    def watch(self, stop: threading.Event, every_s: float = 1.5) -> None:
        """Render the report whenever the run has changed, until `stop`; then wait at least as long as that took."""
        while not stop.is_set():
            began = time.monotonic()
            self.refresh()
            stop.wait(max(every_s, time.monotonic() - began))

    def refresh(self) -> None:
        """Render the report, if the run has changed since the last time."""
        stamp = stamp_of(self._path), status_of(self._run)  # a process that is killed changes no file
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._html, self._figures = report_of(Run(self._path), self._style)
            error = ""
        except Exception as found:  # noqa: BLE001 - the page says what is wrong, and the next change is another chance
            error = f"the report could not be rendered: {type(found).__name__}: {found}"
            log.warning("%s: %s", self._path, error)
        if not error or error != self._error:
            self._version += 1
        self._error = error

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            reason = "this dashboard only shows a run; it changes nothing in it"
            return _answer(start_response, json.dumps({"reason": reason}), "application/json", 405)
        if self._hosts and _host(environ.get("HTTP_HOST", "")) not in self._hosts:
            return _answer(start_response, "no such host here\n", "text/plain", 421)
        path = environ.get("PATH_INFO", "/")
        if path in ("", "/"):
            return _answer(start_response, self._frame(), "text/html; charset=utf-8")
        if path == "/state":
            return _answer(start_response, json.dumps(self._state()), "application/json")
        if path == "/report":
            return _answer(start_response, self._html or self._waiting(), "text/html; charset=utf-8")
        if path.startswith("/figures/"):
            return self._figure(path.removeprefix("/figures/"), start_response)
        study = self._optuna()
        if study is None:
            return _answer(start_response, "the search has not begun\n", "text/plain", 404)
        return study[2](environ, start_response)

    def _frame(self) -> str:
        script = (files("weft.report") / "templates" / "dashboard.js").read_text("utf-8")
        return page("dashboard.html.j2", script).render(name=self._name, version=self._version)

    def _waiting(self) -> str:
        return page("waiting.html.j2").render(name=self._name, error=self._error)

    def _state(self) -> dict[str, Any]:
        study, trials = self._counts()
        status = status_of(self._run)
        return {"version": self._version, "error": self._error, "study": study, "status": status,
                "said": _said(status, self._run.events()), "trials": trials}  # fmt: skip

    def _counts(self) -> tuple[int | None, str]:
        """Return the number of the study that a reader wants to see first, None before there is one; and its trials."""
        opened = self._optuna()
        known = {} if opened is None else {one.study_name: one._study_id for one in opened[1].get_all_studies()}
        name = next((name for name in ("search", "tune", *known) if name in known), None)
        if opened is None or name is None:
            return None, ""
        trials = [t for one in known.values() for t in opened[1].get_all_trials(one, deepcopy=False)]
        done = sum(trial.state.is_finished() for trial in trials)
        of = f" of {grouped(self._run.experiment.search.trials)}" if name == "search" else ""
        return known[name], f"{grouped(done)}{of} trials"

    def _figure(self, name: str, start_response: StartResponse) -> Iterable[bytes]:
        stem, _, kind = name.rpartition(".")
        if stem not in self._figures or kind not in ("png", "svg"):
            return _answer(start_response, f"there is no figure {name}\n", "text/plain", 404)
        png, svg = self._figures[stem]
        return _answer(start_response, png if kind == "png" else svg, mimetypes.types_map[f".{kind}"])

    def _optuna(self) -> tuple[int, Any, WSGIApplication] | None:
        """Return the journal's number, a storage on it and Optuna's dashboard; made anew where the file is another."""
        from weft.search.journal import JOURNAL

        path = self._path / JOURNAL
        with self._lock:
            try:
                number = path.stat().st_ino
            except FileNotFoundError:
                return None
            if self._study is None or self._study[0] != number:
                storage = reader(path)
                self._study = number, storage, self._wsgi(storage)
            return self._study


Stamp = frozenset[tuple[str, int, int]]
"""Files with the time of their last change and their size."""


def stamp_of(directory: Path) -> Stamp:
    """Return what the report depends on: the files of a run, those in its designs, and none below."""
    places = [directory, *_folders(directory / "designs")]
    return frozenset(
        (entry.path, found.st_mtime_ns, found.st_size)
        for place in places
        for entry in _entries(place)
        if entry.is_file() and not entry.name.startswith((".", "mlflow.db"))
        for found in _stat(entry)
    )


def _said(status: str, events: list[dict[str, Any]]) -> str:
    """Say where a run is, or where and why it ended."""
    stage = next((one["name"] for one in reversed(events) if one["event"] == "stage"), "")
    if status == "failed":
        last = next((one for one in reversed(events) if one["event"] == "failed"), None)
        return "" if last is None else f"in stage {last['stage']}: {last.get('error', '').partition(chr(10))[0]}"
    if status == "interrupted":
        return f"in stage {stage}; the same command goes on" if stage else "the same command goes on"
    return f"stage {stage}" if status == "running" and stage else ""


def _folders(directory: Path) -> list[Path]:
    return [Path(entry.path) for entry in _entries(directory) if entry.is_dir()]


def _entries(directory: Path) -> list[os.DirEntry[str]]:
    """List a directory of a run that goes on, which may not be there yet or any more."""
    try:
        with os.scandir(directory) as found:
            return list(found)
    except FileNotFoundError:
        return []


def _stat(entry: os.DirEntry[str]) -> list[os.stat_result]:
    try:
        return [entry.stat()]
    except FileNotFoundError:  # it was replaced since it was listed
        return []


def reader(path: Path) -> Any:
    """Return an Optuna storage on a journal that cannot be written through it, and says the objectives by name."""
    from weft.search.journal import Journal, Storage

    class Reading(Journal):
        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            raise PermissionError(f"{path} is only shown here, and not written")

    class Named(Storage):
        def get_all_studies(self) -> list[FrozenStudy]:
            found = super().get_all_studies()  # copies
            for study in found:
                names = study.user_attrs.get("identity", {}).get("objectives")
                study.system_attrs.update({"study:metric_names": list(names)} if names else {})
            return found

    return Named(Reading(path))


def _host(text: str) -> str:
    """Return the name in a Host header, without its port."""
    return text[1 : text.find("]")] if text.startswith("[") else text.partition(":")[0]


def _answer(start_response: StartResponse, body: str | bytes, kind: str, status: int = 200) -> list[bytes]:
    data = body.encode() if isinstance(body, str) else body
    headers = [("Content-Type", kind), ("Content-Length", str(len(data))), ("Cache-Control", "no-store"),
               ("X-Content-Type-Options", "nosniff")]  # fmt: skip
    start_response(f"{status} {HTTPStatus(status).phrase}", headers)
    return [data]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)


def serve(run: Run, host: str, port: int, ready: Callable[[str], None], style: str | None = None) -> None:
    """Serve the dashboard of a run until Ctrl-C.

    Args:
        run: The run.
        host: The address to listen on.
        port: The port; 0 for any that is free.
        ready: Is told the address once it answers.
        style: As in `write_report`.

    Raises:
        ToolNotFoundError: optuna-dashboard is not installed, or the style needs mplhep, which is not.
        ConfigError: The address cannot be had, or there is no such style.
    """
    from weft.report.style import style_of

    style_of(style)
    local = host in LOOPBACK
    application = Dashboard(run, style, LOOPBACK if local else ())
    try:
        server = make_server(host, port, application, _Server, _Quiet)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host}:{port}: {error.strerror}; give another port with --port, 0 for any that is free"
        ) from error
    stop = threading.Event()
    watching = threading.Thread(target=application.watch, args=(stop,), daemon=True)
    with server:
        watching.start()
        ready(f"http://{host}:{server.server_port}/")
        try:
            server.serve_forever()
        finally:
            stop.set()
