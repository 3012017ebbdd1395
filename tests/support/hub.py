"""A Hugging Face hub on this machine: what the client needs to push a folder and fetch it."""

import base64
import hashlib
import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

TOKEN = "hf_writes"


class Hub:
    """Repositories by name, each a mapping of files by branch.

    Attributes:
        repos: ``{"files": {branch: {path: bytes}}, "private": bool}`` by name.
        refuses: the status with which every request is answered; None: requests are served.
        asked: method and path of each request.
        authorized: the authorization headers received.
    """

    def __init__(self):
        self.url, self.repos, self.refuses = "", {}, None
        self.asked, self.authorized = [], set()

    def answer(self, method, path, body):
        """Status, JSON or bytes, and headers."""
        if self.refuses:
            known = {404: {"X-Error-Code": "RepoNotFound"}}
            return self.refuses, {"error": "no"}, known.get(self.refuses, {})
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}, {}
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            return self._api(method, "/".join(parts[2:4]), parts[4:], body)
        return self._file("/".join(parts[:2]), parts[3], "/".join(parts[4:]))

    def _create(self, asked):
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.repos:
            return 409, {"error": "You already created it", "url": f"{self.url}/{name}"}, {}
        private = asked.get("visibility") == "private" or asked.get("private", False)
        self.repos[name] = {"files": {"main": {}}, "private": private}
        return 200, {"url": f"{self.url}/{name}"}, {}

    def _api(self, method, name, what, body):
        repo = self.repos.get(name)
        if repo is None:
            return 404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"}
        kind, rest = (what[0], "/".join(what[1:])) if what else ("revision", "main")
        if kind == "branch":
            repo["files"].setdefault(rest, dict(repo["files"]["main"]))
            return 200, {}, {}
        if kind == "preupload":
            files = [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False,
                      "oid": None} for one in json.loads(body)["files"]]  # fmt: skip
            return 200, {"files": files}, {}
        if kind == "commit" and method == "POST":
            lines = [json.loads(line) for line in body.splitlines()]
            files = {one["value"]["path"]: base64.b64decode(one["value"]["content"])
                     for one in lines if one["key"] == "file"}  # fmt: skip
            repo["files"][rest] |= files
            url = f"{self.url}/{name}/commit/{self.sha(repo, rest)}"
            return 200, {"commitUrl": url, "commitOid": self.sha(repo, rest)}, {}
        branch = self._branch(repo, rest.split("/")[0])
        if kind == "tree":
            return 200, [{"type": "file", "path": path, "size": len(content), "oid": _oid(content)}
                         for path, content in repo["files"][branch].items()], {}  # fmt: skip
        found = {"id": name, "sha": self.sha(repo, branch), "private": repo["private"],
                 "siblings": [{"rfilename": path} for path in repo["files"][branch]]}  # fmt: skip
        return 200, found, {}

    def _file(self, name, revision, path):
        repo = self.repos[name]
        branch = self._branch(repo, revision)
        content = repo["files"][branch].get(path)
        if content is None:
            return 404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"}
        return 200, content, {"ETag": f'"{_oid(content)}"', "X-Repo-Commit": self.sha(repo, branch)}

    def _branch(self, repo, revision):
        by_commit = {self.sha(repo, branch): branch for branch in repo["files"]}
        return by_commit.get(revision, revision)

    def sha(self, repo, branch):
        """SHA of a branch's newest commit."""
        files = {path: _oid(content) for path, content in repo["files"][branch].items()}
        return hashlib.sha1(json.dumps([branch, files]).encode()).hexdigest()

    def save(self, name, folder, branch="main"):
        """Write what a repository holds into a folder."""
        for path, content in self.repos[name]["files"][branch].items():
            file = Path(folder) / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)


def _oid(content):
    return hashlib.sha1(content).hexdigest()


@contextmanager
def running_hub():
    """A hub that answers at its ``url`` while the block runs."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = unquote(urlsplit(self.path).path)
            hub.asked.append((self.command, path))
            hub.authorized.add(self.headers.get("Authorization"))
            status, content, headers = hub.answer(self.command, path, body)
            if not isinstance(content, bytes):
                content = json.dumps(content).encode()
                headers = {"Content-Type": "application/json", **headers}
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_POST = do_HEAD = do_GET

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
