"""Asks a running server for every route that answers JSON, and holds each answer, key by key, against what docs/openapi.json says. The answers are its
examples. The server is the program on a directory of its own, with a fleet of simulated devices and a campaign."""

import json
import os
import pathlib
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

import jsonschema

from openapi import OPERATIONS, Mismatch

DEVICES = 12
CAMPAIGN = {"name": "EW-42 to 2.0", "artifact": {"name": "ew42", "version": "2.0"}, "in_flight_max": 5, "waves": [{"percent": 25}, {}], "target": {"maker": ["Acme", "Globex", "Initech"]}}


class Server:
    def __init__(self, program, folder):
        self.program, self.folder = program, folder
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FLOTILLA")}
        self.environment = environment | {"FLOTILLA_DATA": f"{folder}/data", "NO_COLOR": "1"}
        self.process = subprocess.Popen([program, "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"], env=self.environment,
                                        stdout=subprocess.PIPE, stderr=open(f"{folder}/log", "w"), text=True)
        said = [self.process.stdout.readline().split() for _ in range(2)]
        if any(len(words) < 3 for words in said):
            raise Mismatch("the server did not start\n" + pathlib.Path(folder, "log").read_text())
        self.devices, self.admin = said[0][2], said[1][2]
        self.token = pathlib.Path(folder, "data/admin.token").read_text().strip()

    def command(self, *arguments):
        return subprocess.run([self.program, *arguments], env=self.environment | {"FLOTILLA_SERVER": self.admin}, check=True, capture_output=True, text=True).stdout

    def ask(self, method, path, content=None, kind="application/json"):
        """Status, headers and text of an answer."""
        data = content if content is None or isinstance(content, bytes) else json.dumps(content).encode()
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": kind}
        request = urllib.request.Request(self.admin + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, dict(answer.headers), answer.read().decode("utf-8", "replace")
        except urllib.error.HTTPError as error:
            return error.code, dict(error.headers), error.read().decode()


def requests(server):
    """Each route once, in an order in which each has something to show."""
    pathlib.Path(server.folder, "fw.bin").write_bytes(bytes(range(256)) * 16)
    device = {"id": "IMEI:490154203237518", "user": "alice", "password": "secret", "server_id": "flotilla", "server_password": "other", "tags": ["lab"]}
    name = urllib.parse.quote(device["id"], safe="")
    yield "POST /v1/devices", "", device
    yield "PUT /v1/devices/{id}/tags", f"/v1/devices/{name}/tags", {"tags": ["canary", "lab"]}
    yield "PUT /v1/devices/{id}/credentials", f"/v1/devices/{name}/credentials", {"user": "alice", "password": "another"}
    yield "PUT /v1/devices/{id}/notify-address", f"/v1/devices/{name}/notify-address", {"notify_address": "udp://192.0.2.7:2948"}
    roster = server.command("fleet", "roster", "--devices", str(DEVICES))
    pathlib.Path(server.folder, "roster.csv").write_text(roster)
    server.command("device", "import", f"{server.folder}/roster.csv")
    yield "POST /v1/devices/bulk", "", (json.dumps(device) + "\n{}\n").encode()
    yield "POST /v1/artifacts", "?name=ew42&version=2.0", bytes(range(256)) * 16
    fleet = subprocess.Popen([server.program, "fleet", "run", "--url", server.devices, "--devices", str(DEVICES), "--poll", "1s", "--duration", "120s", "--until-version", "2.0"],
                             env=server.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait(lambda: all(one["last_seen"] for one in json.loads(server.ask("GET", "/v1/devices")[2])["items"] if one["id"] != device["id"]))
        yield "POST /v1/campaigns/preview", "", CAMPAIGN
        yield "POST /v1/campaigns", "", CAMPAIGN
        yield "GET /v1/campaigns/{id}/preview", "/v1/campaigns/c1/preview", None
        yield "POST /v1/campaigns/{id}/start", "/v1/campaigns/c1/start", {}
        yield "POST /v1/campaigns/{id}/pause", "/v1/campaigns/c1/pause", {"reason": "a look"}
        yield "POST /v1/campaigns/{id}/resume", "/v1/campaigns/c1/resume", {}
        wait(lambda: json.loads(server.ask("GET", "/v1/campaigns/c1")[2])["ended"] >= DEVICES)
    finally:
        fleet.terminate()
        fleet.wait()
    updated = next(one["id"] for one in json.loads(server.ask("GET", "/v1/devices")[2])["items"] if one["inventory"]["firmware"] == "2.0")
    updated = urllib.parse.quote(updated, safe="")
    digest = json.loads(server.ask("GET", "/v1/artifacts")[2])["items"][0]["digest"]
    yield "GET /v1/devices", "?limit=2&firmware=2.0", None
    yield "GET /v1/devices/{id}", f"/v1/devices/{updated}", None
    yield "GET /v1/devices/{id}/tree", f"/v1/devices/{updated}/tree?uri=./DevDetail", None
    yield "GET /v1/devices/{id}/history", f"/v1/devices/{updated}/history?limit=3", None
    yield "GET /v1/devices/{id}/diff", f"/v1/devices/{updated}/diff?from=2020-01-01T00:00:00Z", None
    yield "GET /v1/devices/{id}/explain", f"/v1/devices/{updated}/explain", None
    yield "GET /v1/artifacts", "?limit=1", None
    yield "GET /v1/artifacts/{digest}", f"/v1/artifacts/{digest}", None
    yield "GET /v1/campaigns", "?limit=1", None
    yield "GET /v1/campaigns/{id}", "/v1/campaigns/c1", None
    yield "GET /v1/campaigns/{id}/devices", "/v1/campaigns/c1/devices?limit=2&state=succeeded", None
    yield "GET /v1/campaigns/{id}/events", "/v1/campaigns/c1/events?limit=4", None
    yield "POST /v1/campaigns/{id}/verify", "/v1/campaigns/c1/verify", {}
    yield "POST /v1/campaigns/{id}/stop", "/v1/campaigns/c1/stop", {"hard": False}
    yield "PUT /v1/log-level", "", {"level": "info,session_service=debug", "for": "10m"}
    for route in OPERATIONS:
        if route in ("GET /v1/log-level", "DELETE /v1/log-level", "GET /v1/secrets", "POST /v1/secrets/rotate", "GET /v1/backup", "GET /metrics") or "/health/" in route:
            yield route, "", None
    yield "GET /v1/campaigns/{id}/watch", "/v1/campaigns/c1/watch", None


def wait(done):
    end = time.monotonic() + 120
    while not done():
        if time.monotonic() > end:
            raise Mismatch("the campaign of the examples did not come to its end")
        time.sleep(0.3)


def validator(api, schema):
    return jsonschema.Draft202012Validator(schema | {"components": api["components"]}, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)


def hold(api, where, schema, value):
    for error in validator(api, schema).iter_errors(value):
        raise Mismatch(f"{where}: {'.'.join(map(str, error.absolute_path))}: {error.message[:300]}")


def ask_all(program, api):
    """The answers by route; an answer that is not as it is described is an error."""
    examples, asked, problem = {}, set(), api["components"]["schemas"]["ProblemBody"]
    with tempfile.TemporaryDirectory() as folder:
        server = Server(program, folder)
        try:
            for route, path, content in requests(server):
                method, template = route.split(" ")
                asked.add(route)
                path = path if path.startswith("/") else template + path
                described = api["paths"][template][method.lower()]
                if content is not None and not isinstance(content, bytes) and "application/json" in described.get("requestBody", {}).get("content", {}):
                    hold(api, f"{route}, what it takes", described["requestBody"]["content"]["application/json"]["schema"], content)
                takes = list(described.get("requestBody", {}).get("content", {})) or ["application/json"]
                status, headers, text = server.ask(method, path, content, takes[0] if isinstance(content, bytes) else "application/json")
                kind = headers.get("Content-Type", headers.get("content-type", "")).split(";")[0]
                # A campaign that is over takes no more commands: its answer is one of the described problems.
                if kind == "application/problem+json":
                    hold(api, route, problem, json.loads(text))
                    name = json.loads(text)["type"].rsplit(":", 1)[-1]
                    if f"`{name}`" not in described["responses"]["default"]["description"]:
                        raise Mismatch(f"{route}: answered the problem {name}, which is not described: {text}")
                    continue
                if str(status) not in described["responses"] or kind not in described["responses"][str(status)]["content"]:
                    raise Mismatch(f"{route}: answered {status} {kind}, which is not described: {text[:300]}")
                schema = described["responses"][str(status)]["content"][kind]["schema"]
                if kind == "application/json":
                    hold(api, route, schema, json.loads(text))
                    if status == OPERATIONS[route]["status"]:
                        examples[route] = json.loads(text)
                elif "contentSchema" in schema:
                    lines = [line.removeprefix("data: ") for line in text.splitlines() if line]
                    for line in lines:
                        hold(api, route, schema["contentSchema"], json.loads(line))
            status, _, text = server.ask("GET", "/v1/nowhere")
            hold(api, "an unknown route", problem, json.loads(text))
        finally:
            server.process.terminate()
            server.process.wait()
    if asked != set(OPERATIONS):
        raise Mismatch(f"not asked for: {sorted(set(OPERATIONS) - asked)}")
    return examples
