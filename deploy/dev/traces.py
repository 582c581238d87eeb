#!/usr/bin/env python3
"""One device's session over two front-ends, and what a receiver of traces was sent of it. Run by deploy/dev/traces."""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ElementTree

NAMESPACE = "{SYNCML:SYNCML1.2}"
KINDS = {1: "internal", 2: "server", 3: "client", 4: "producer", 5: "consumer"}
MESSAGES_MAX = 20


def check(holds, what):
    if not holds:
        sys.exit(f"traces: expected {what}")


class Device:
    """A device that knows its DevInfo and has nothing else: what it is asked for is not found."""

    def __init__(self, name, fronts):
        self.name = name
        self.fronts = fronts

    def visit(self, session):
        """Sends the messages of one session to the front-ends in turn; answers to which each went."""
        path, body, went = "/dm", self.package_1(), []
        for number in range(1, MESSAGES_MAX):
            front = self.fronts[number % len(self.fronts)]
            went.append(front)
            reply = self.post(front + path, self.message(session, number, body))
            resp_uri = reply.find(f"{NAMESPACE}SyncHdr/{NAMESPACE}RespURI")
            if resp_uri is not None:
                parts = urllib.parse.urlsplit(resp_uri.text)
                path = f"{parts.path}?{parts.query}" if parts.query else parts.path
            body = self.answer(reply)
            if body is None:
                return went
        sys.exit("traces: the session does not end")

    def post(self, url, message):
        request = urllib.request.Request(url, message.encode(), {"content-type": "application/vnd.syncml.dm+xml"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return ElementTree.fromstring(answer.read())

    def message(self, session, number, body):
        return (
            "<SyncML xmlns='SYNCML:SYNCML1.2'><SyncHdr><VerDTD>1.2</VerDTD><VerProto>DM/1.2</VerProto>"
            f"<SessionID>{session}</SessionID><MsgID>{number}</MsgID><Target><LocURI>{self.fronts[0]}/dm</LocURI></Target>"
            f"<Source><LocURI>{self.name}</LocURI></Source></SyncHdr><SyncBody>{body}<Final/></SyncBody></SyncML>"
        )

    def package_1(self):
        info = {"DevId": self.name, "Man": "Trace Works", "Mod": "T-1", "DmV": "1.2", "Lang": "en"}
        items = "".join(
            f"<Item><Source><LocURI>./DevInfo/{name}</LocURI></Source><Data>{value}</Data></Item>" for name, value in info.items()
        )
        return f"<Alert><CmdID>1</CmdID><Data>1201</Data></Alert><Replace><CmdID>2</CmdID>{items}</Replace>"

    def answer(self, reply):
        """Statuses for the server's commands; None where it has none."""
        number = reply.find(f"{NAMESPACE}SyncHdr/{NAMESPACE}MsgID").text
        commands = []
        for command in reply.find(f"{NAMESPACE}SyncBody").iter():
            name, cmd_id = command.tag.removeprefix(NAMESPACE), command.find(f"{NAMESPACE}CmdID")
            if cmd_id is not None and name != "Status":
                commands.append((name, cmd_id.text))
        if not commands:
            return None
        statuses = [("SyncHdr", "0", 212)]
        statuses += [(name, cmd_id, 404 if name in ("Get", "Exec") else 200) for name, cmd_id in commands]
        return "".join(
            f"<Status><CmdID>{at}</CmdID><MsgRef>{number}</MsgRef><CmdRef>{ref}</CmdRef><Cmd>{name}</Cmd><Data>{code}</Data></Status>"
            for at, (name, ref, code) in enumerate(statuses, 1)
        )


class Span:
    def __init__(self, span, resource):
        self.trace, self.id = span["traceId"], span["spanId"]
        self.parent = span.get("parentSpanId") or None
        self.name, self.kind = span["name"], KINDS[span["kind"]]
        self.begun, self.ended = int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])
        self.facts = attributes(span)
        self.links = [(link["traceId"], link["spanId"]) for link in span.get("links", [])]
        self.failed = span.get("status", {}).get("code") == 2
        self.process, self.roles = resource["service.instance.id"], resource["dm.roles"]

    @property
    def context(self):
        return self.trace, self.id


def attributes(of):
    return {one["key"]: next(iter(one["value"].values())) for one in of.get("attributes", [])}


def received(path):
    spans = []
    for line in path.read_text().splitlines() if path.exists() else []:
        for of_process in json.loads(line)["resourceSpans"]:
            resource = attributes(of_process["resource"])
            check(resource["service.name"] == "flotilla", "the service's name in each resource")
            spans += [Span(span, resource) for scope in of_process["scopeSpans"] for span in scope["spans"]]
    return spans


def show(spans, parent=None, depth=0):
    for span in sorted((span for span in spans if span.parent == parent), key=lambda span: span.begun):
        facts = " ".join(f"{key}={value}" for key, value in span.facts.items() if key.startswith(("dm.", "messaging.dest")))
        link = " -> linked" if span.links else ""
        print(f"  {'  ' * depth}{span.name} [{span.kind}, {span.roles} {span.process[:4]}] {(span.ended - span.begun) / 1e6:.1f} ms {facts}{link}")
        show(spans, span.id, depth + 1)


def one(found, what):
    check(len(found) == 1, f"one {what}, got {len(found)}")
    return found[0]


def verify(spans, session, went, campaign):
    """The session's tree and what it is linked with; raises LookupError where something may only be late."""
    messages = [span for span in spans if span.name == "POST /dm" and span.facts["dm.session.id"] == session]
    if len(messages) < len(went):
        raise LookupError(f"{len(went)} messages, got {len(messages)}")
    trace = one({span.trace for span in messages} and sorted({span.trace for span in messages}), "trace of the session")
    tree = [span for span in spans if span.trace == trace]
    roots = [span for span in tree if span.parent is None]
    if not roots:
        raise LookupError("the root of the session")
    root = one(roots, "root")
    known = {span.id for span in tree}
    check(len(known) == len(tree), "every span once")
    check(all(span.parent in known for span in tree if span is not root), "every span under another of the tree")
    check(root.name == "session" and int(root.facts["dm.session.messages"]) == len(went), "a root that says how many messages it had")

    messages.sort(key=lambda span: int(span.facts["dm.msg_id"]))
    check([int(span.facts["dm.msg_id"]) for span in messages] == list(range(1, len(went) + 1)), "a span a message")
    check(all(span.parent == root.id and span.kind == "server" for span in messages), "messages right under the root")
    check(all(int(span.facts["http.response.status_code"]) == 200 and not span.failed for span in messages), "messages that went well")
    processes = [span.process for span in messages]
    check(len(set(processes)) == 2, "messages from two front-ends")
    check(all((one_front == other) == (a == b) for one_front, a in zip(went, processes) for other, b in zip(went, processes)),
          "each message from the front-end that it was sent to")
    check(root.begun <= messages[0].begun + 5e6 and root.ended >= messages[-1].begun, "a root from the first message to the last")
    calls = {span.name for span in tree if span.kind == "client"}
    check({"load session", "load device", "put session", "update job"} <= calls, f"calls to stores in the tree, got {calls}")

    # Out: the campaign's owner released the job, its topic carried the context, the session links to it.
    worker = one([span for span in messages if span.links], "message that took up the job")
    check(worker.facts["dm.campaign.id"] == campaign, "the campaign's name")
    by_context = {span.context: span for span in spans}
    sent = by_context.get(one(worker.links, "link to the job"))
    if sent is None:
        raise LookupError("the span that sent the job")
    check(sent.name == "send dm.jobs" and sent.kind == "producer" and sent.trace != trace, "a link to what sent the job, in another trace")
    release = by_context.get((sent.trace, sent.parent))
    if release is None:
        raise LookupError("the release of the job")
    check(release.name == "release jobs" and release.parent is None and release.facts["dm.campaign.id"] == campaign, "a release above it")
    carried = [span for span in spans if span.name == "process dm.jobs" and sent.context in span.links]
    if not carried:
        raise LookupError("who took the job from its topic")

    # Back: what the session said goes on in its trace, and whoever takes it in links to that.
    told = [span for span in tree if span.name == "send dm.events"]
    check(told and all(span.kind == "producer" for span in told), "events sent within the session")
    for span in told:
        if not any(other.name == "process dm.events" and span.context in other.links for other in spans):
            raise LookupError("who took the session's events in")
    return trace, tree, [release, sent, *carried]


def main():
    parser = argparse.ArgumentParser()
    for name in ("flotilla", "data", "admin", "received"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--fronts", nargs=2, required=True)
    parser.add_argument("--logs", nargs="+", required=True)
    args = parser.parse_args()

    def run(*command):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FLOTILLA__")}
        done = subprocess.run([args.flotilla, *command, "--server", args.admin, "--data", args.data], capture_output=True, text=True, env=environment)
        check(done.returncode == 0, f"flotilla {' '.join(command)} to go well: {done.stderr}")
        return done.stdout

    run_id = f"{time.time_ns():x}"
    device = Device(f"urn:trace:{run_id}", args.fronts)
    run("device", "add", "--id", device.name, "--auth", "none", "--tag", f"trace-{run_id}")
    device.visit(f"{run_id}a")
    with tempfile.TemporaryDirectory() as folder:
        image, definition = pathlib.Path(folder, "image"), pathlib.Path(folder, "campaign.toml")
        image.write_text(f"firmware of {run_id}")
        run("artifact", "add", str(image), "--name", f"fw-{run_id}", "--version", "2")
        definition.write_text(
            f'name = "traces {run_id}"\nartifact = {{ name = "fw-{run_id}", version = "2" }}\nin_flight_max = 1\n'
            f'[target]\ntags_all = ["trace-{run_id}"]\n[[waves]]\n'
        )
        created = json.loads(run("campaign", "create", "-f", str(definition), "--start", "-o", "json"))
    campaign = created["id"]
    # Until its job can be seen: a visit before that has nothing to do, and ends with its first message.
    for number in range(100):
        session = f"{run_id}{number}b"
        went = device.visit(session)
        if len(went) > 1:
            break
        time.sleep(0.3)
    else:
        sys.exit("traces: the job never came")
    for _ in range(100):
        if device.name in run("campaign", "devices", campaign, "--state", "ended", "-o", "json"):
            break
        time.sleep(0.3)
    else:
        sys.exit("traces: the campaign never heard of the job's end")

    late = None
    for _ in range(150):
        try:
            trace, tree, campaigns = verify(received(pathlib.Path(args.received)), session, went, campaign)
            break
        except LookupError as error:
            late = error
            time.sleep(0.2)
    else:
        sys.exit(f"traces: expected {late}")

    lines = [json.loads(line) for path in args.logs for line in pathlib.Path(path).read_text().splitlines() if line.startswith("{")]
    logged = [line for line in lines if line.get("trace_id") == trace]
    spans = {span.id for span in tree}
    check(logged and all(line["span_id"] in spans for line in logged), "log lines that name the session's trace and a span of it")

    print(f"trace {trace}: a session of {len(went)} messages over two front-ends")
    show(tree)
    print(f"linked to the release of its job by {campaign}:")
    for span in campaigns:
        print(f"  {span.name} [{span.kind}, {span.roles} {span.process[:4]}]")
    print(f"and to whoever took in its events; {len(logged)} log lines of the front-ends name it")


main()
