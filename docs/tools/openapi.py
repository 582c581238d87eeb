"""The API's description, OpenAPI 3.1, out of the sources of services/admin: routes from its router, words from the comments of handlers, types from the structs
of its `api` module. What the sources do not say (which type a route takes and gives) stands here in OPERATIONS; a route that is missing there, or is
there and not in the router, is an error, as is a parameter. `examples.py` asks a running server for each, and holds its answers against this."""

import json
import pathlib
import re

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
ADMIN = REPOSITORY / "services/admin/src"

PAGE = {"limit": "Rows of a page, 1 to 1000; 100 where nothing is said.", "cursor": "`next_cursor` of the page before."}
INSTANT = "An RFC 3339 instant such as 2026-01-31T12:00:00Z"
RANGE = {"from": "The ordinal of the first device looked at.", "limit": "Devices looked at, 1 to 10000; 1000 where nothing is said."}
ID = "device"


def op(gives, takes=None, status=200, query=None, **more):
    return {"gives": gives, "takes": takes, "status": status, "query": query or {}, **more}


# Route: what it takes, what it gives, and what its parameters mean.
OPERATIONS = {
    "GET /v1/devices": op("Page<DeviceView>", query=PAGE | {
        "tag": "Only those with this tag.", "maker": "Only those of this maker.", "model": "Only this model.", "firmware": "Only those that report this version."}),
    "POST /v1/devices": op("DeviceView", "DeviceInput", 201, problems=["already-exists"], idempotent=True),
    "POST /v1/devices/bulk": op("lines of BulkLine", "lines of DeviceInput", query={"results": "`all` rows have a line in the answer, or only those that were `bad`.",
                                                                                    "existing": "A device that is there and different: `keep` it, and its row is in conflict, or `replace` its credentials, and its tags and address where the row has them."}),
    "GET /v1/devices/{id}": op("DeviceView", etag=True),
    "PUT /v1/devices/{id}/tags": op("DeviceView", "TagsInput", match=True, problems=["precondition-failed"]),
    "PUT /v1/devices/{id}/credentials": op("DeviceView", "CredentialsInput", match=True, problems=["precondition-failed"]),
    "PUT /v1/devices/{id}/notify-address": op("DeviceView", "NotifyAddressInput", match=True, problems=["precondition-failed"]),
    "GET /v1/devices/{id}/tree": op("TreeView", etag=True, query={"at": f"{INSTANT}: the tree as it was then.", "uri": "Only this subtree, such as `./DevDetail`."}),
    "GET /v1/devices/{id}/history": op("HistoryView", query={"limit": "Rows of each list, 1 to 1000."}),
    "GET /v1/devices/{id}/diff": op("DiffView", query={"from": f"{INSTANT}.", "to": f"{INSTANT}; now where nothing is said."}, required=["from"]),
    "GET /v1/devices/{id}/explain": op("[ExplainView]"),
    "GET /v1/artifacts": op("Page<ArtifactView>", query=PAGE),
    "POST /v1/artifacts": op("ArtifactView", "octets", 201, query={"name": "Its name, 1 to 255 characters.", "version": "The version that a device reports after it."},
                             required=["name", "version"], problems=["too-large"], also={200: "It was there already."}),
    "GET /v1/artifacts/{digest}": op("ArtifactView"),
    "GET /v1/campaigns": op("Page<CampaignSummary>", query=PAGE),
    "POST /v1/campaigns": op("CampaignView", "definition", 201, query={"start": "`true`: starts it at once."}, problems=["conflict"], idempotent=True),
    "POST /v1/campaigns/preview": op("PreviewView", "definition"),
    "GET /v1/campaigns/{id}": op("CampaignView"),
    "GET /v1/campaigns/{id}/preview": op("PreviewView"),
    "POST /v1/campaigns/{id}/start": op("CampaignView", "nothing", problems=["conflict"]),
    "POST /v1/campaigns/{id}/pause": op("CampaignView", "PauseInput", problems=["conflict"]),
    "POST /v1/campaigns/{id}/resume": op("CampaignView", "nothing", problems=["conflict"]),
    "POST /v1/campaigns/{id}/stop": op("CampaignView", "StopInput", problems=["conflict"]),
    "GET /v1/campaigns/{id}/devices": op("Page<MemberView>", query=PAGE | {"state": "Only those in this state, such as `succeeded`."}),
    "GET /v1/campaigns/{id}/events": op("EventsView", query={
        "from": "The offset to begin at.", "limit": "Events, 1 to 1000; 100 where nothing is said.", "wait_s": "How long to wait for one, 0 to 60 seconds."}),
    "GET /v1/campaigns/{id}/watch": op("server-sent events of CampaignView"),
    "POST /v1/campaigns/{id}/verify": op("VerifyView"),
    "GET /v1/secrets": op("SecretsView", query=RANGE),
    "POST /v1/secrets/rotate": op("SecretsView", query=RANGE, problems=["conflict"]),
    "GET /v1/log-level": op("Level", problems=["conflict"]),
    "PUT /v1/log-level": op("Level", "LevelWish", problems=["conflict"]),
    "DELETE /v1/log-level": op("Level", problems=["conflict"]),
    "GET /v1/backup": op("octets", problems=["conflict"]),
    "GET /metrics": op("text"),
    "GET /health/livez": op("text", open=True),
    "GET /health/servez": op("text", open=True, problems=["unavailable"]),
    "GET /health/readyz": op("text", open=True, problems=["unavailable"]),
}

# Of those whose comment says no more than the route.
SUMMARIES = {
    "GET /v1/devices/{id}": "One device.",
    "GET /v1/devices/{id}/tree": "Its tree, as last seen or as of an instant.",
    "GET /v1/artifacts/{digest}": "One artifact, by its SHA-256 in hexadecimal.",
    "GET /v1/campaigns/{id}": "One campaign, as it is now.",
    "POST /v1/campaigns/{id}/start": "Starts a draft: who is a member is decided now.",
    "POST /v1/campaigns/{id}/pause": "Gives no more work until it is resumed; what is in flight goes on.",
    "POST /v1/campaigns/{id}/resume": "Goes on: after a pause, over the gate that held it, or with an approval that was asked for.",
    "POST /v1/campaigns/{id}/stop": "Ends it: devices that were sent no Exec are left alone, the others come to their own end; `hard` ends those at once, as cancelled.",
    "GET /v1/log-level": "What this process logs now, and what its settings say.",
    "GET /metrics": "Metrics in the text form of Prometheus.",
}

# What no struct says by itself.
BY_HAND = {
    "Secret": {"type": "string", "writeOnly": True, "description": "Goes in, and never comes back."},
    "Value": {"description": "Any JSON.", "type": "object"},
    "Phase": {"description": "`waiting`, or `session` or `running` with the stage that was reached.", "oneOf": [
        {"const": "waiting"},
        {"type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": False,
         "properties": {"session": {"type": "string"}, "running": {"type": "string"}}}]},
    "BulkLine": {"description": "What became of a row; the last line is the summary, or why the server had to stop.", "oneOf": [
        {"$ref": "#/components/schemas/BulkRow"},
        {"type": "object", "required": ["summary"], "additionalProperties": False, "properties": {"summary": {"$ref": "#/components/schemas/BulkCounts"}}},
        {"type": "object", "required": ["problem"], "additionalProperties": False, "properties": {"problem": {"$ref": "#/components/schemas/ProblemBody"}}}]},
    "ChangeView": {"description": "One difference: a leaf's value, an interior node, the names of a node's children, or a node that is gone.", "type": "object",
                   "required": ["change", "uri"], "additionalProperties": False, "properties": {
                       "change": {"enum": ["leaf", "interior", "children", "removed"]}, "uri": {"type": "string"}, "format": {"type": "string"},
                       "mime": {"type": "string"}, "value": {"type": "string"}, "value_base64": {"type": "string"}, "object": {"type": "string"},
                       "names": {"type": "array", "items": {"type": "string"}}}},
    "Definition": {"description": "A campaign's definition, as docs/operate.md has it in TOML; in JSON the keys are the same.", "type": "object"},
}
SIMPLE = {
    "String": {"type": "string"}, "bool": {"type": "boolean"}, "f64": {"type": "number"}, "Timestamp": {"type": "string", "format": "date-time"},
    **{f"u{bits}": {"type": "integer", "minimum": 0} for bits in (16, 32, 64)},
}
SOURCES = [*sorted((ADMIN / "api").glob("*.rs")), ADMIN / "campaigns/mod.rs", REPOSITORY / "libs/storage/src/device.rs", REPOSITORY / "libs/campaign/src/counts.rs",
           REPOSITORY / "libs/service-kit/src/telemetry/level.rs"]


class Mismatch(Exception):
    """The sources and this file say different things."""


def doc_of(lines):
    text = " ".join(line.strip().removeprefix("///").strip() for line in lines if line.strip().startswith("///"))
    text = text.split(" # Errors")[0]
    return re.sub(r"\[`(?:[A-Za-z]+::)*([A-Za-z]+)`\]", r"`\1`", text)


ITEM = re.compile(r"((?:^ *(?:///|#\[)[^\n]*\n)*)^(?:pub(?:\([a-z]+\))? )?(struct|enum) (\w+)(?:<\w+>)? \{\n(.*?)^\}", re.M | re.S)
FIELD = re.compile(r"((?:^ +(?:///|#\[)[^\n]*\n)*)^ {4}(?:pub(?:\([a-z]+\))? )?(\w+): ([^\n]+),\n", re.M)
VARIANT = re.compile(r"((?:^ +(?:///|#\[)[^\n]*\n)*)^ {4}(\w+),\n", re.M)


def kebab(name):
    return re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower().replace("_", "-")


def schema_of(type_):
    if found := re.fullmatch(r"Option<(.+)>", type_):
        inner = schema_of(found[1])
        return {"oneOf": [inner, {"type": "null"}]} if "$ref" in inner or "oneOf" in inner else inner | {"type": [inner["type"], "null"]}
    if found := re.fullmatch(r"(?:Vec|BTreeSet)<(.+)>", type_):
        return {"type": "array", "items": schema_of(found[1])}
    if found := re.fullmatch(r"BTreeMap<\w+, (.+)>", type_):
        return {"type": "object", "additionalProperties": schema_of(found[1])}
    name = type_.rsplit("::", 1)[-1]
    return dict(SIMPLE[name]) if name in SIMPLE else {"$ref": f"#/components/schemas/{name}"}


def struct_schema(attributes, fields, items):
    properties, required = {}, []
    for head, name, type_ in fields:
        shown = re.search(r'rename = "(\w+)"', head)
        name = shown[1] if shown else name.rstrip("_")
        if "kebab-case" in attributes:
            name = kebab(name)
        if "flatten" in head:
            inner = items[re.sub(r"Option<(.+)>", r"\1", type_)]
            properties |= inner["properties"]
            required += [] if type_.startswith("Option") else inner.get("required", [])
            continue
        schema = schema_of(type_)
        if "skip_serializing_if" in head and type_.startswith("Option"):
            schema = schema_of(re.sub(r"Option<(.+)>", r"\1", type_))
        if text := doc_of(head.splitlines()):
            schema["description"] = text
        properties[name] = schema
        if "default" not in head and "skip_serializing_if" not in head:
            required.append(name)
    out = {"type": "object", "additionalProperties": False, "properties": properties}
    return out | ({"required": required} if required else {})


def read_types():
    items = {}
    found = [match for path in SOURCES for match in ITEM.findall(path.read_text())]
    # What is flattened into others comes first.
    found.sort(key=lambda item: item[2] not in ("CampaignSummary", "LeafView"))
    for head, kind, name, body in found:
        if name in BY_HAND or ("Serialize" not in head and "Deserialize" not in head):
            continue
        if kind == "struct":
            schema = struct_schema(head, FIELD.findall(body), items)
        else:
            schema = {"type": "string", "enum": [kebab(variant) for _, variant in VARIANT.findall(body)]}
        if text := doc_of(head.splitlines()):
            schema["description"] = text
        items[name] = schema
    return items | BY_HAND


def read_problems():
    source = (ADMIN / "api/problem.rs").read_text()
    return {urn: doc_of(head.splitlines()) for head, urn in re.findall(r'((?:^ +///[^\n]*\n)+)^ +pub const \w+: &str = "urn:flotilla:problem:([a-z-]+)";', source, re.M)}


def read_routes():
    """Each route with its handler: `GET /v1/devices` -> `devices::list`."""
    source = (ADMIN / "router.rs").read_text()
    routes = {}
    for path, handlers in re.findall(r'\.route\(\s*"([^"]+)",\s*([^\n]+)\)\n', source):
        for method, handler in re.findall(r"(get|post|put|delete|patch)\(([\w:]+)\)", handlers):
            routes[f"{method.upper()} {path}"] = handler
    if len(routes) < 20:
        raise Mismatch(f"router.rs: expected routes, found {len(routes)}")
    return routes


def read_handler(handler):
    """Its comment, and the names of its query's parameters."""
    module, _, name = handler.rpartition("::")
    for path in [ADMIN / f"{module}.rs", *sorted((ADMIN / module).glob("*.rs"))]:
        source = path.read_text() if path.exists() else ""
        found = re.search(r"((?:^///[^\n]*\n)+)^pub\(crate\) async fn " + name + r"\((.*?)\) (?:->|\{)", source, re.M | re.S)
        if not found:
            continue
        params = re.search(r"Params<(\w+)>", found[2])
        fields = []
        if params:
            place = source if f"struct {params[1]} " in source else (ADMIN / "extract.rs").read_text()
            body = next(body for _, _, item, body in ITEM.findall(place) if item == params[1])
            fields = [field for _, field, _ in FIELD.findall(body)]
        return doc_of(found[1].splitlines()), fields
    raise Mismatch(f"expected a handler {handler} with a comment")


def media(what, types, page_of):
    ref = lambda name: {"$ref": f"#/components/schemas/{name}"}
    if found := re.fullmatch(r"Page<(\w+)>", what):
        name = f"PageOf{found[1]}"
        types[name] = {"type": "object", "description": page_of, "required": ["items"], "additionalProperties": False, "properties": {
            "items": {"type": "array", "items": ref(found[1])}, "next_cursor": {"type": "string", "description": "Gives the next page; absent on the last one."}}}
        return {"application/json": {"schema": ref(name)}}
    if found := re.fullmatch(r"\[(\w+)\]", what):
        return {"application/json": {"schema": {"type": "array", "items": ref(found[1])}}}
    if found := re.fullmatch(r"lines of (\w+)", what):
        return {"application/x-ndjson": {"schema": {"type": "string", "description": f"A [{found[1]}](#{found[1].lower()}) a line.", "contentSchema": ref(found[1])}}}
    if found := re.fullmatch(r"server-sent events of (\w+)", what):
        return {"text/event-stream": {"schema": {"type": "string", "description": f"The data of each event is a [{found[1]}](#{found[1].lower()}).", "contentSchema": ref(found[1])}}}
    if what == "octets":
        return {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    if what == "text":
        return {"text/plain": {"schema": {"type": "string"}}}
    if what == "definition":
        return {"application/toml": {"schema": {"type": "string"}}, "application/json": {"schema": ref("Definition")}}
    if what == "nothing":
        return {"application/json": {"schema": {"type": "object", "additionalProperties": False}}}
    return {"application/json": {"schema": ref(what)}}


def operation(route, handler, types, problems):
    said = OPERATIONS[route]
    doc, fields = read_handler(handler)
    if sorted(fields) != sorted(said["query"]):
        raise Mismatch(f"{route}: the handler takes {sorted(fields)}, docs/tools/openapi.py says {sorted(said['query'])}")
    method, path = route.split(" ")
    # A handler's comment begins with its route.
    summary = re.sub(r"^`[A-Z]+ [^`]*`[:.]? ?", "", doc).strip()
    summary = summary[:1].upper() + summary[1:]
    parameters = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in re.findall(r"\{(\w+)\}", path)]
    required = said.get("required", [])
    parameters += [{"name": name, "in": "query", "required": name in required, "description": text, "schema": {"type": "string"}} for name, text in said["query"].items()]
    if said.get("idempotent"):
        parameters.append({"name": "Idempotency-Key", "in": "header", "description": "1 to 128 characters: a second request with it answers the first one's.", "schema": {"type": "string"}})
    if said.get("match"):
        parameters.append({"name": "If-Match", "in": "header", "description": "Only if the ETag still is that.", "schema": {"type": "string"}})
    if said.get("etag"):
        parameters.append({"name": "If-None-Match", "in": "header", "description": "Answers 304 if the ETag still is that.", "schema": {"type": "string"}})
    answers = {str(said["status"]): {"description": "Done.", "content": media(said["gives"], types, "A page of a list.")}}
    for status, text in said.get("also", {}).items():
        answers[str(status)] = {"description": text, "content": answers[str(said["status"])]["content"]}
    if said.get("etag"):
        answers["304"] = {"description": "As the client has it."}
    refused = list(said.get("problems", []))
    if not said.get("open"):
        refused += ["unauthorized"]
    if said["query"] or said["takes"] or "{" in path:
        refused += ["invalid-input"]
    if said["takes"]:
        refused += ["unsupported-media-type"]
    if "{" in path:
        refused += ["not-found"]
    if path.startswith("/v1/"):
        refused += ["unavailable", "outcome-unknown", "internal"]
    for name in sorted(set(refused)):
        if name not in problems:
            raise Mismatch(f"{route}: there is no problem {name}")
    answers["default"] = {"description": "A problem: " + ", ".join(f"`{name}`" for name in sorted(set(refused))) + ".",
                          "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemBody"}}}} if refused else {"description": "None."}
    summary = summary or SUMMARIES[route]
    out = {"operationId": handler.replace("::", "_"), "summary": summary.split(". ")[0].rstrip("."), "description": summary, "parameters": parameters, "responses": answers}
    if said["takes"]:
        out["requestBody"] = {"required": said["takes"] != "nothing", "content": media(said["takes"], types, "")}
    if said.get("open"):
        out["security"] = []
    return method.lower(), path, out


def build(examples):
    routes = read_routes()
    if set(routes) != set(OPERATIONS):
        raise Mismatch(f"docs/tools/openapi.py lacks {sorted(set(routes) - set(OPERATIONS))}, and has {sorted(set(OPERATIONS) - set(routes))} which the router lacks")
    types, problems = read_types(), read_problems()
    paths = {}
    for route in OPERATIONS:
        method, path, described = operation(route, routes[route], types, problems)
        if route in examples:
            content = described["responses"][str(OPERATIONS[route]["status"])]["content"]
            content["application/json"]["example"] = examples[route]
        paths.setdefault(path, {})[method] = described
    version = re.search(r'^version = "([^"]+)"', (REPOSITORY / "Cargo.toml").read_text(), re.M)[1]
    types["ProblemBody"]["properties"]["type"]["enum"] = [f"urn:flotilla:problem:{name}" for name in problems]
    used, todo = set(), [json.dumps(paths)]
    while todo:
        for name in set(re.findall(r"#/components/schemas/(\w+)", todo.pop())) - used:
            used.add(name)
            todo.append(json.dumps(types[name]))
    return {
        "openapi": "3.1.0",
        "info": {"title": "Flotilla", "version": version, "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
                 "description": "The operators' API, on the admin listener. Errors are RFC 9457 problem details, whose `type` is stable; each answer has an `X-Request-Id`, which the server's log has too."},
        "servers": [{"url": "http://127.0.0.1:8081"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "The content of `admin.token` in the data directory, or of `admin.token_file`."}},
                       "schemas": {name: types[name] for name in sorted(used)}},
    }, problems


def type_words(schema):
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})"
    if "oneOf" in schema:
        return " or ".join(type_words(one) for one in schema["oneOf"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    kind = schema.get("type", "any")
    kind = " or ".join(kind) if isinstance(kind, list) else kind
    if kind == "array":
        return f"list of {type_words(schema['items'])}"
    return f"{kind} ({schema['format']})" if "format" in schema else kind


def markdown(api, problems):
    out = ["# API", "",
           "Made by `docs/generate` from the program's sources; [openapi.json](openapi.json) is the same for machines (OpenAPI 3.1), and its examples are answers of a running server.", "",
           "It is on the admin listener, `http://127.0.0.1:8081` where nothing is set. All but health asks for the token: `Authorization: Bearer …`, with the content of `admin.token` in the data directory.",
           "Lists come in pages; an answer with `next_cursor` has another one behind it. What reads and writes one device has an `ETag`. Times are RFC 3339 in UTC.", "", "## Problems", "",
           "An error is `application/problem+json`, a [ProblemBody](#problembody). Its `type` is `urn:flotilla:problem:` and one of:", "", "| type | meaning |", "|---|---|"]
    out += [f"| `{name}` | {text} |" for name, text in problems.items()]
    out += ["", "## Routes", "", "| route | what it does |", "|---|---|"]
    for path, methods in api["paths"].items():
        for method, described in methods.items():
            anchor = re.sub(r"[^a-z0-9_-]", "", f"{method} {path}".lower().replace(" ", "-"))
            out.append(f"| [`{method.upper()} {path}`](#{anchor}) | {described['summary']} |")
    for path, methods in api["paths"].items():
        for method, described in methods.items():
            out += ["", f"### {method.upper()} {path}", "", described["description"] or described["summary"]]
            if described["parameters"]:
                out += ["", "| parameter | in | meaning |", "|---|---|---|"]
                out += [f"| `{one['name']}`{', needed' if one.get('required') and one['in'] == 'query' else ''} | {one['in']} | {one.get('description', 'Its name.')} |" for one in described["parameters"]]
            for title, content in [("Takes", described.get("requestBody", {}).get("content", {}))] + [
                    (f"Answers {status}", answer.get("content", {})) for status, answer in described["responses"].items() if status.startswith("2")]:
                for kind, body in content.items():
                    what = body["schema"].get("description") or type_words(body["schema"])
                    out += ["", f"{title}: `{kind}`, {what}"]
                    if "example" in body:
                        out += ["", "```json", json.dumps(body["example"], indent=2, ensure_ascii=False), "```"]
            if refused := described["responses"]["default"]["description"].removeprefix("A problem: "):
                out += ["", f"Problems: {refused}"] if refused != "None." else []
    out += ["", "## Types"]
    for name, schema in api["components"]["schemas"].items():
        out += ["", f"### {name}", "", schema.get("description", "")]
        if schema.get("properties"):
            out += ["", "| field | type | meaning |", "|---|---|---|"]
            needed = schema.get("required", [])
            out += [f"| `{field}`{'' if field in needed else ', may be absent'} | {type_words(one)} | {one.get('description', '')} |" for field, one in schema["properties"].items()]
        else:
            out += ["", type_words(schema)]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(out)) + "\n"
