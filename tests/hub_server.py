"""A Hub on 127.0.0.1 that the real clients work against: huggingface_hub, transformers, datasets and the `hf` command.

`HubServer` listens on a free port in a thread of the tests' process. `Hub` is what it holds (users, repositories, large
files), `Repository` one repository: commits, branches, tags, pull requests. A route is a method of `Answer`; the
decorator says which request it answers. `hub.requests` lists what came in, and `hub.faults` what goes wrong at which of
them. Test equipment: it keeps all in memory, and no upload or page is ever large enough to be cut in parts.
"""

import base64
import hashlib
import json
import os
import re
import socket
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

LARGE = 1_000_000  # bytes from which any file is stored as LFS has it
ALWAYS_LARGE = (".safetensors", ".parquet", ".bin", ".arrow")
FAULTS = (401, 403, 404, 409, 412, 429, 500, "disconnect", "lost")  # "lost": done, but the answer never arrives


def git_oid(data: bytes, kind: str = "blob") -> str:
    """What git would call the bytes."""
    return hashlib.sha1(f"{kind} {len(data)}\0".encode() + data).hexdigest()


@dataclass(frozen=True)
class File:
    data: bytes
    large: bool = False

    def facts(self, path: str) -> dict[str, Any]:
        """As `tree` and `paths-info` list it."""
        if not self.large:
            return {"type": "file", "path": path, "size": len(self.data), "oid": git_oid(self.data)}
        sha256 = hashlib.sha256(self.data).hexdigest()
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {len(self.data)}\n".encode()
        lfs = {"oid": sha256, "size": len(self.data), "pointerSize": len(pointer)}
        return {"type": "file", "path": path, "size": len(self.data), "oid": git_oid(pointer), "lfs": lfs}

    @property
    def etag(self) -> str:
        return hashlib.sha256(self.data).hexdigest() if self.large else git_oid(self.data)


@dataclass(frozen=True)
class Commit:
    files: dict[str, File]
    title: str
    message: str
    author: str
    parent: "Commit | None" = None
    date: str = field(default_factory=lambda: datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z"))

    @property
    def oid(self) -> str:
        tree = [(path, file.etag) for path, file in sorted(self.files.items())]
        parent = self.parent.oid if self.parent else None
        return git_oid(repr((tree, self.title, self.message, self.author, parent, self.date)).encode(), "commit")

    def history(self) -> list["Commit"]:
        """It and what was before it, the newest first."""
        return [self, *(self.parent.history() if self.parent else [])]


class Repository:
    """Refs by their full names (`refs/heads/main`, `refs/tags/v1`, `refs/pr/1`), each a commit."""

    def __init__(self, kind: str, name: str, private: bool):
        self.kind, self.name, self.private = kind, name, private
        first = Commit({".gitattributes": File(b"*.safetensors filter=lfs\n")}, "initial commit", "", self.owner)
        self.refs = {"refs/heads/main": first}

    @property
    def owner(self) -> str:
        return self.name.split("/")[0]

    def ref(self, revision: str) -> str | None:
        """The full name of a branch, tag or pull request."""
        names = (revision, f"refs/heads/{revision}", f"refs/tags/{revision}")
        return next((name for name in names if name in self.refs), None)

    def at(self, revision: str) -> Commit:
        if name := self.ref(revision):
            return self.refs[name]
        found = [c for head in self.refs.values() for c in head.history() if c.oid == revision]
        if not found:
            raise Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return found[0]

    def listed(self, prefix: str) -> list[dict[str, str]]:
        return [
            {"name": name.removeprefix(prefix), "ref": name, "targetCommit": commit.oid}
            for name, commit in self.refs.items()
            if name.startswith(prefix)
        ]

    @property
    def files(self) -> dict[str, bytes]:
        """The files of main."""
        return {path: file.data for path, file in self.at("main").files.items()}

    @property
    def commits(self) -> list[str]:
        """The titles of main's commits, the newest first."""
        return [commit.title for commit in self.at("main").history()]


class Hub:
    """What the server holds, and what the tests see and set.

    Attributes:
        users: token -> name. Repositories belong to the user or organisation before the slash of their names.
        organisations: user -> those it may write to.
        repositories: (kind, name) -> repository; kind is "models" or "datasets".
        requests: "METHOD /path" of each request so far.
        faults: number of a request -> one of `FAULTS` that happens to it; "every" stands for all of them.
        tokens: what came as a bearer token with each request, None where nothing did.
    """

    def __init__(self, users: dict[str, str]):
        self.users, self.organisations = users, {}
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.large_files: dict[str, bytes] = {}
        self.lock = threading.RLock()
        self.forget_requests()

    def forget_requests(self) -> None:
        """Numbers the requests from 0 again, without faults."""
        self.requests: list[str] = []
        self.tokens: list[str | None] = []
        self.faults: dict[int | str, int | str] = {}

    def model(self, name: str) -> Repository:
        return self.repositories["models", name]

    def create(self, name: str, files: dict[str, bytes], kind: str = "models", private: bool = False) -> Repository:
        """A repository that somebody made, with a commit of these files."""
        repository = self.repositories[kind, name] = Repository(kind, name, private)
        self.commit(repository, files)
        return repository

    def commit(self, repository: Repository, files: dict[str, bytes], branch: str = "main") -> None:
        """A commit that somebody made to a branch."""
        before = repository.at(branch)
        added = {path: File(data, is_large(path, len(data))) for path, data in files.items()}
        after = Commit(before.files | added, "somebody's commit", "", repository.owner, before)
        repository.refs[f"refs/heads/{branch}"] = after

    def may_write(self, user: str | None, owner: str) -> bool:
        return user is not None and owner in (user, *self.organisations.get(user, ()))


def is_large(path: str, size: int) -> bool:
    return size >= LARGE or path.endswith(ALWAYS_LARGE)


@dataclass
class Reply:
    """What is sent; a route may also return what its body has as JSON."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    kind: str = "application/json"


class Refused(Exception):
    """An error's reply."""

    def __init__(self, status: int, code: str | None = None, message: str = "", **headers: str):
        named = {"X-Error-Code": code} if code else {}
        self.reply = Reply(
            status,
            json.dumps({"error": message}).encode(),
            {"X-Error-Message": message} | named | {k.replace("_", "-"): v for k, v in headers.items()},
        )


ROUTES: list[tuple[str, re.Pattern, Any]] = []
REPOSITORY = r"/api/(?P<kind>models|datasets)/(?P<name>[^/]+/[^/]+)"


def route(methods: str, pattern: str):
    """The method below answers requests whose whole path matches; groups are its arguments, unquoted."""

    def add(function):
        ROUTES.extend((method, re.compile(pattern), function) for method in methods.split())
        return function

    return add


class Answer(BaseHTTPRequestHandler):
    """One request and its answer."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each body waits 40 ms for its headers
    hub: Hub
    url: str

    def log_message(self, *args: Any) -> None:
        """Nothing: `hub.requests` has it."""

    def handle_any(self) -> None:
        parts = urlsplit(self.path)
        self.query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            self.body = self._chunks()
        token = self.headers.get("Authorization", "").removeprefix("Bearer ") or None
        with self.hub.lock:
            number = len(self.hub.requests)
            self.hub.requests.append(f"{self.command} {parts.path}")
            self.hub.tokens.append(token)
            fault = self.hub.faults.get("every", self.hub.faults.get(number))
        if fault == "disconnect":
            return self._hang_up()
        if isinstance(fault, int):
            named = {"X-Error-Code": "RepoNotFound"} if fault == 404 else {}
            return self._send(Reply(fault, b"<html>a fault</html>", named, "text/html"))
        try:
            if token is not None and token not in self.hub.users:
                raise Refused(401, None, "Invalid credentials in Authorization header")
            self.user = self.hub.users.get(token)
            with self.hub.lock:
                reply = self._routed(parts.path)
        except Refused as refused:
            reply = refused.reply
        if fault == "lost":
            return self._hang_up()
        self._send(reply if isinstance(reply, Reply) else Reply(200, json.dumps(reply).encode()))

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any

    def _routed(self, path: str) -> Any:
        for method, pattern, function in ROUTES:
            if method == self.command and (match := pattern.fullmatch(path)):
                return function(self, **{name: unquote(value or "") for name, value in match.groupdict().items()})
        raise Refused(404, None, f"no such page: {self.command} {path}")

    def _chunks(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        facts = {"Content-Type": reply.kind, "Content-Length": str(len(reply.body))}
        for name, value in (facts | reply.headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.body)

    def repository(self, kind: str, name: str, write: bool = False) -> Repository:
        """A repository that this user may see, or write to."""
        found = self.hub.repositories.get((kind, name))
        mine = self.hub.may_write(self.user, name.split("/")[0])
        if found is None or (found.private and not mine):
            raise Refused(404 if self.user else 401, "RepoNotFound", "Repository not found")
        if write and not mine:
            raise Refused(403 if self.user else 401, None, "You don't have the rights to write to this repository")
        return found

    # Accounts and repositories

    @route("GET", "/api/whoami-v2")
    def whoami(self):
        if self.user is None:
            raise Refused(401, None, "Invalid username or password.")
        organisations = [{"type": "org", "name": name} for name in self.hub.organisations.get(self.user, ())]
        access = {"accessToken": {"displayName": "tests", "role": "write"}}
        return {"type": "user", "name": self.user, "fullname": self.user, "orgs": organisations, "auth": access}

    @route("POST", "/api/repos/create")
    def create(self):
        owner = self.json.get("organization") or self.user
        kind, name = f"{self.json.get('type') or 'model'}s", f"{owner}/{self.json['name']}"
        if not self.hub.may_write(self.user, owner):
            raise Refused(403 if self.user else 401, None, f"You don't have the rights to create {name}")
        page = {"url": f"{self.url}/{'' if kind == 'models' else kind + '/'}{name}", "name": name}
        if (kind, name) in self.hub.repositories:
            return Reply(409, json.dumps(page | {"error": "You already created this model repo"}).encode())
        private = self.json.get("visibility") == "private" or self.json.get("private") is True
        self.hub.repositories[kind, name] = Repository(kind, name, private)
        return page

    @route("DELETE", "/api/repos/delete")
    def delete(self):
        owner = self.json.get("organization") or self.user
        kind, name = f"{self.json.get('type') or 'model'}s", f"{owner}/{self.json['name']}"
        self.repository(kind, name, write=True)
        del self.hub.repositories[kind, name]
        return {}

    @route("POST", "/api/repos/move")
    def move(self):
        kind = f"{self.json.get('type') or 'model'}s"
        moved = self.repository(kind, self.json["fromRepo"], write=True)
        moved.name = self.json["toRepo"]
        self.hub.repositories[kind, moved.name] = self.hub.repositories.pop((kind, self.json["fromRepo"]))
        return {}

    @route("PUT", f"{REPOSITORY}/settings")
    def settings(self, kind: str, name: str):
        repository = self.repository(kind, name, write=True)
        repository.private = self.json.get("visibility") == "private" or self.json.get("private") is True
        return {}

    @route("GET", f"{REPOSITORY}/auth-check")
    def auth_check(self, kind: str, name: str):
        self.repository(kind, name)
        return {}

    # What a repository holds

    @route("GET", f"{REPOSITORY}(/revision/(?P<revision>[^/]+))?")
    def info(self, kind: str, name: str, revision: str):
        repository = self.repository(kind, name)
        commit = repository.at(revision or "main")
        siblings = [{"rfilename": path} for path in sorted(commit.files)]
        facts = {"_id": git_oid(name.encode()), "id": name, "author": repository.owner, "sha": commit.oid}
        when = {"lastModified": commit.date, "createdAt": commit.history()[-1].date}
        return facts | when | {"private": repository.private, "gated": False, "tags": [], "siblings": siblings}

    @route("GET", f"{REPOSITORY}/tree/(?P<revision>[^/]+)(/(?P<folder>.+))?")
    def tree(self, kind: str, name: str, revision: str, folder: str):
        commit, start = self.repository(kind, name).at(revision), f"{folder}/" if folder else ""
        inside = {path: file for path, file in commit.files.items() if path.startswith(start)}
        if folder and not inside:
            raise Refused(404, "EntryNotFound", f"{folder} does not exist on {revision}")
        deep = self.query.get("recursive", "").lower() in ("1", "true")
        files = [f.facts(path) for path, f in inside.items() if deep or "/" not in path.removeprefix(start)]
        folders = {start + path.removeprefix(start).split("/")[0] for path in inside if "/" in path.removeprefix(start)}
        if deep:
            folders = {
                str(parent) for path in inside for parent in Path(path).parents if str(parent) not in (".", folder)
            }
        listed = [{"type": "directory", "path": p, "size": 0, "oid": git_oid(p.encode(), "tree")} for p in folders]
        return sorted(listed + files, key=lambda entry: entry["path"])

    @route("POST", f"{REPOSITORY}/paths-info/(?P<revision>[^/]+)")
    def paths_info(self, kind: str, name: str, revision: str):
        commit = self.repository(kind, name).at(revision)
        form = self.json if self.body.startswith(b"{") else parse_qs(self.body.decode())
        found = []
        for path in form["paths"]:
            if path in commit.files:
                found.append(commit.files[path].facts(path))
            elif any(other.startswith(f"{path}/") for other in commit.files):
                found.append({"type": "directory", "path": path, "size": 0, "oid": git_oid(path.encode(), "tree")})
        return found

    @route("GET", f"{REPOSITORY}/refs")
    def refs(self, kind: str, name: str):
        repository = self.repository(kind, name)
        pulls = repository.listed("refs/pr/") if "include_prs" in self.query else []
        kinds = {"branches": "refs/heads/", "tags": "refs/tags/", "converts": "refs/convert/"}
        return {kind: repository.listed(prefix) for kind, prefix in kinds.items()} | {"pullRequests": pulls}

    @route("GET", f"{REPOSITORY}/commits/(?P<revision>[^/]+)")
    def commits(self, kind: str, name: str, revision: str):
        return [
            {"id": c.oid, "title": c.title, "message": c.message, "authors": [{"user": c.author}], "date": c.date}
            for c in self.repository(kind, name).at(revision).history()
        ]

    @route("POST DELETE", f"{REPOSITORY}/branch/(?P<branch>.+)")
    def branch(self, kind: str, name: str, branch: str):
        repository = self.repository(kind, name, write=True)
        return self._made_or_deleted(repository, f"refs/heads/{branch}", lambda: self.json.get("startingPoint", "main"))

    @route("POST", f"{REPOSITORY}/tag/(?P<revision>[^/]+)")
    def make_tag(self, kind: str, name: str, revision: str):
        repository = self.repository(kind, name, write=True)
        return self._made_or_deleted(repository, f"refs/tags/{self.json['tag']}", lambda: revision)

    @route("DELETE", f"{REPOSITORY}/tag/(?P<tag>[^/]+)")
    def delete_tag(self, kind: str, name: str, tag: str):
        return self._made_or_deleted(self.repository(kind, name, write=True), f"refs/tags/{tag}", None)

    def _made_or_deleted(self, repository: Repository, ref: str, start):
        if self.command == "DELETE":
            if repository.refs.pop(ref, None) is None:
                raise Refused(404, "RevisionNotFound", f"no {ref}")
        elif re.search(r"[\s~^:?*\[\\]|\.\.", ref):
            raise Refused(400, None, f"{ref} is no valid name")
        elif ref in repository.refs:
            raise Refused(409, None, f"Reference {ref} exists already")
        else:
            repository.refs[ref] = repository.at(start())
        return {}

    @route("GET HEAD", r"/(?P<kind>datasets/)?(?P<name>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
    def resolve(self, kind: str, name: str, revision: str, path: str):
        commit = self.repository("datasets" if kind else "models", name).at(revision)
        if path not in commit.files:
            raise Refused(404, "EntryNotFound", "Entry not found", X_Repo_Commit=commit.oid)
        file = commit.files[path]
        headers = {"X-Repo-Commit": commit.oid, "ETag": f'"{file.etag}"'}
        if file.large:
            headers |= {"X-Linked-Etag": f'"{file.etag}"', "X-Linked-Size": str(len(file.data))}
        return Reply(200, file.data, headers, "application/octet-stream")

    # Uploads

    @route("POST", "/api/validate-yaml")
    def validate_yaml(self):
        parts = self.json["content"].split("---\n", 2)
        if len(parts) < 3 or parts[0]:
            return {"errors": [], "warnings": [{"message": "empty or missing yaml metadata in repo card"}]}
        try:
            yaml.safe_load(parts[1])
        except yaml.YAMLError as error:
            return Reply(400, json.dumps({"errors": [{"message": str(error)}], "warnings": []}).encode())
        return {"errors": [], "warnings": []}

    @route("POST", f"{REPOSITORY}/preupload/(?P<revision>[^/]+)")
    def preupload(self, kind: str, name: str, revision: str):
        commit = self.repository(kind, name, write="create_pr" not in self.query).at(revision)
        files = []
        for asked in self.json["files"]:
            path = asked["path"]
            facts = {"path": path, "uploadMode": "lfs" if is_large(path, asked["size"]) else "regular"}
            known = {"oid": commit.files[path].etag} if path in commit.files else {}
            files.append(facts | {"shouldIgnore": False} | known)
        return {"files": files, "commitOid": commit.oid}

    @route("POST", r"/(?P<kind>datasets/)?(?P<name>[^/]+/[^/]+)\.git/info/lfs/objects/batch")
    def lfs_batch(self, kind: str, name: str):
        self.repository("datasets" if kind else "models", name)
        actions = {"upload": {"href": f"{self.url}/lfs/"}, "verify": {"href": f"{self.url}/lfs-verify"}}
        objects = []
        for asked in self.json["objects"]:
            upload = {"upload": {"href": actions["upload"]["href"] + asked["oid"]}, "verify": actions["verify"]}
            known = asked["oid"] in self.hub.large_files
            objects.append(asked if known else asked | {"actions": upload})
        return {"transfer": "basic", "objects": objects}

    @route("PUT", "/lfs/(?P<oid>[0-9a-f]{64})")
    def lfs_upload(self, oid: str):
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise Refused(400, None, "the bytes are not those that were announced")
        self.hub.large_files[oid] = self.body
        return {}

    @route("POST", "/lfs-verify")
    def lfs_verify(self):
        if len(self.hub.large_files.get(self.json["oid"], b"")) != self.json["size"]:
            raise Refused(404, None, "no such object")
        return {}

    @route("POST", f"{REPOSITORY}/commit/(?P<revision>[^/]+)")
    def commit(self, kind: str, name: str, revision: str):
        pull = "create_pr" in self.query
        repository = self.repository(kind, name, write=not pull)
        lines = [json.loads(line) for line in self.body.splitlines()]
        header = next(line["value"] for line in lines if line["key"] == "header")
        before, ref = repository.at(revision), repository.ref(revision)
        if header.get("parentCommit", before.oid) != before.oid:
            raise Refused(412, None, "A commit has happened since. Please refresh and try again.")
        if ref is None and not pull:
            raise Refused(400, None, f"{revision} is no branch")
        files = dict(before.files)
        for line in lines:
            self._apply(line["key"], line["value"], files)
        message = header.get("description", "")
        after = Commit(files, header["summary"], message, self.user or "nobody", before)
        made = {}
        if pull:
            number = 1 + len(repository.listed("refs/pr/"))
            ref, made = f"refs/pr/{number}", {"pullRequestUrl": f"{self.url}/{name}/discussions/{number}"}
        repository.refs[ref] = after
        return {"success": True, "commitOid": after.oid, "commitUrl": f"{self.url}/{name}/commit/{after.oid}"} | made

    def _apply(self, key: str, value: dict[str, Any], files: dict[str, File]) -> None:
        if key == "file":
            files[value["path"]] = File(base64.b64decode(value["content"]))
        elif key == "lfsFile":
            if value["oid"] not in self.hub.large_files:
                raise Refused(400, None, f"{value['path']} was not uploaded")
            files[value["path"]] = File(self.hub.large_files[value["oid"]], large=True)
        elif key == "deletedFile":
            if files.pop(value["path"], None) is None:
                raise Refused(404, "EntryNotFound", "A file with this name doesn't exist")
        elif key == "deletedFolder":
            for path in [path for path in files if path.startswith(value["path"].rstrip("/") + "/")]:
                del files[path]


class HubServer:
    """A running Hub: `with HubServer() as hub` gives `hub.url` and, of the clients, `hub.environment(folder)`."""

    def __init__(self):
        self.token, self.stranger = "hf_of_the_tests_own_user", "hf_of_another_user"
        self.hub = Hub({self.token: "me", self.stranger: "stranger"})
        handler = type("BoundAnswer", (Answer,), {"hub": self.hub})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.url = handler.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self) -> "HubServer":
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self.server.shutdown()
        self.server.server_close()

    def environment(self, home: Path, token: str | None = None) -> dict[str, str]:
        """That of a process whose clients use this Hub, and keep what they download in an own, at first empty, home.

        Args:
            token: None for nobody in particular.
        """
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING_FACE_"))}
        own = {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
        quiet = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1"}
        return kept | own | quiet | ({"HF_TOKEN": token} if token else {})
