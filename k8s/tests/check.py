"""What k8s/check runs: each check is a function whose name is the claim, over what the chart renders for each profile and for `tests/values`."""

import functools
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.error
import urllib.request

import jsonschema
import kubernetes_validate
import yaml

TESTS = pathlib.Path(__file__).resolve().parent
CHART = TESTS.parent / "flotilla"
HELM, FLOTILLA, KUBERNETES = os.environ["HELM"], os.environ["FLOTILLA"], os.environ["KUBERNETES"]

# What the chart has to agree with the program on.
SOURCE = (TESTS.parent.parent / "services/flotilla/src/backend/cluster.rs").read_text()
JOBS_END_SECONDS = int(re.search(r"const JOBS_END_MAX: Duration = Duration::from_secs\((\d+)\)", SOURCE)[1])
GROUPS = {topic.lower(): group for topic, group in re.findall(r'const (JOBS|EVENTS|TRIGGERS)_GROUP: &str = "([^"]+)"', SOURCE)}
SETTINGS = (TESTS.parent.parent / "libs/service-kit/flotilla.toml").read_text()

# From the oldest that the chart takes to the newest whose schemas there are.
VERSIONS = ["1.30", ".".join(KUBERNETES.split(".")[:2]), kubernetes_validate.latest_version()]
SAMPLES = sorted((CHART / "profiles").glob("*.yaml")) + sorted((TESTS / "values").glob("*.yaml"))
SECRETS = "/etc/flotilla/secrets/"

failures = []


def wrong(where, what):
    failures.append(f"{where}: {what}")


def run(*command, **options):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)


def template(*values, chart=CHART):
    flags = [flag for path in values for flag in ("--values", path)]
    return run(HELM, "template", "flotilla", chart, "--namespace", "dm", "--kube-version", KUBERNETES, *flags)


class Render:
    """What one values file gives."""

    def __init__(self, *values):
        self.name = values[0].stem
        done = template(*values)
        if done.returncode != 0:
            raise SystemExit(f"{self.name}: {done.stderr}")
        self.text = done.stdout
        self.objects = [item for item in yaml.safe_load_all(done.stdout) if item]

    def of(self, *kinds):
        return [item for item in self.objects if item["kind"] in kinds]

    def pods(self):
        """Every pod template, with the name of what makes it."""
        for item in self.of("Deployment", "StatefulSet", "Job"):
            template = item["spec"]["template"]
            yield f"{self.name}: {item['kind']} {item['metadata']['name']}", item, template["metadata"]["labels"], template["spec"]

    def one(self, kind, name):
        return next((item for item in self.of(kind) if item["metadata"]["name"] == name), None)


def containers(pod):
    return pod.get("initContainers", []) + pod["containers"]


def selects(selector, labels):
    """Whether a selector, of which the chart uses only matchLabels and NotIn, selects a pod."""
    for expression in selector.get("matchExpressions", []):
        if expression["operator"] != "NotIn":
            raise SystemExit(f"expected NotIn in a selector, got {expression}")
        if labels.get(expression["key"]) in expression["values"]:
            return False
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def lint_is_quiet(render, path):
    done = run(HELM, "lint", "--strict", CHART, "--kube-version", KUBERNETES, "--values", path)
    if done.returncode != 0 or "[WARNING]" in done.stdout:
        wrong(render.name, f"helm lint says\n{done.stdout}{done.stderr}")


def golden_text(text):
    """Without rules and dashboards, which come from elsewhere and have checks of their own."""
    parts = text.removeprefix("---\n").split("\n---\n")
    kept = [part for part in parts if "\nkind: PrometheusRule" not in part and not re.search(r"\n  name: \S+-dashboard-", part)]
    return "\n---\n".join(kept).rstrip() + "\n"


def renders_as_kept(render, update):
    path = TESTS / "golden" / f"{render.name}.yaml"
    text = golden_text(render.text)
    if update:
        path.write_text(text)
    elif not path.exists() or path.read_text() != text:
        done = run("diff", "-u", path, "-", input=text)
        wrong(render.name, f"renders otherwise than {path.name}; if it should, k8s/check --update\n{done.stdout[:4000]}")


def renders_the_same_twice(render, path):
    if template(path).stdout != render.text:
        wrong(render.name, "a second render is another one, so an upgrade that changes nothing would replace pods")


@functools.cache
def definition(kind, version, paths):
    for path in paths:
        for item in yaml.safe_load_all(pathlib.Path(path).read_text()):
            if item and item["spec"]["names"]["kind"] == kind:
                served = next((of for of in item["spec"]["versions"] if of["name"] == version and of["served"]), None)
                return jsonschema.Draft202012Validator(strict(served["schema"]["openAPIV3Schema"])) if served else None
    return None


def strict(schema):
    """What the API server prunes is an error here. Its own extensions of JSON Schema are translated."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    closed = {}
    for key, value in schema.items():
        if key == "properties":
            closed[key] = {name: strict(part) for name, part in value.items()}
        elif key in ("allOf", "anyOf", "oneOf", "not"):
            # These only say more about what is described beside them.
            closed[key] = value
        else:
            closed[key] = strict(value)
    if "properties" in schema and "additionalProperties" not in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        closed["additionalProperties"] = False
    return closed


def fits_the_schemas(render, definitions):
    for item in render.objects:
        name = f"{render.name}: {item['kind']} {item['metadata']['name']}"
        group, _, version = item["apiVersion"].rpartition("/")
        if group.endswith(("keda.sh", "coreos.com", "gateway.networking.k8s.io")):
            validator = definition(item["kind"], version, definitions)
            if validator is None:
                wrong(name, f"no definition of {item['apiVersion']}")
                continue
            # Metadata is described by Kubernetes itself, with every other object.
            for error in validator.iter_errors(item | {"metadata": {}}):
                wrong(name, f"{error.json_path}: {error.message[:300]}")
            continue
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(item, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                wrong(name, f"Kubernetes {version}: {'.'.join(map(str, error.path))}: {error.message[:300]}")
            except kubernetes_validate.SchemaNotFoundError as error:
                wrong(name, error.message)


def names_are_short_and_labelled(render):
    seen = set()
    for item in render.objects:
        meta = item["metadata"]
        name = (item["apiVersion"], item["kind"], meta["name"])
        if name in seen:
            wrong(render.name, f"{item['kind']} {meta['name']} stands there twice")
        seen.add(name)
        if len(meta["name"]) > 63 or not re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", meta["name"]):
            wrong(render.name, f"{item['kind']} {meta['name']} is no name")
        for label in ("app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/version", "app.kubernetes.io/managed-by", "helm.sh/chart"):
            if label not in meta["labels"]:
                wrong(render.name, f"{item['kind']} {meta['name']} has no label {label}")
        if item["kind"] == "Secret":
            wrong(render.name, f"{meta['name']}: the chart makes no Secrets")


def pods_pass_the_restricted_standard(render):
    """As of https://kubernetes.io/docs/concepts/security/pod-security-standards, for the fields that there are; and a little more."""
    for name, _, _, pod in render.pods():
        shared = pod.get("securityContext", {})
        for key in ("hostNetwork", "hostPID", "hostIPC"):
            if pod.get(key):
                wrong(name, f"{key} is set")
        for volume in pod.get("volumes", []):
            kinds = set(volume) - {"name"}
            if not kinds <= {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}:
                wrong(name, f"volume {volume['name']} is {kinds}")
        for container in containers(pod):
            own = container.get("securityContext", {})
            either = {**shared, **own}
            if own.get("privileged") or own.get("procMount"):
                wrong(name, f"{container['name']} is privileged")
            if own.get("allowPrivilegeEscalation") is not False:
                wrong(name, f"{container['name']} may escalate")
            if own.get("capabilities", {}).get("drop") != ["ALL"] or own["capabilities"].get("add"):
                wrong(name, f"{container['name']} keeps capabilities")
            if either.get("runAsNonRoot") is not True or either.get("runAsUser", 1) == 0:
                wrong(name, f"{container['name']} may run as root")
            if either.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
                wrong(name, f"{container['name']} has no seccomp profile")
            if own.get("readOnlyRootFilesystem") is not True:
                wrong(name, f"{container['name']} may write to its root")
            if not container.get("resources", {}).get("limits", {}).get("memory"):
                wrong(name, f"{container['name']} has no limit of memory")
            if any("hostPort" in port for port in container.get("ports", [])):
                wrong(name, f"{container['name']} has a port of the host")
        if pod.get("automountServiceAccountToken") is not False:
            wrong(name, "has the account's token")
        if pod.get("enableServiceLinks") is not False:
            wrong(name, "has Services in its environment, where settings are")


def probes_and_drains_fit(render):
    for name, item, _, pod in render.pods():
        if item["kind"] == "Job":
            continue
        main = pod["containers"][0]
        ports = {port["name"] for port in main["ports"]}
        for probe, path in [("startupProbe", "livez"), ("livenessProbe", "livez"), ("readinessProbe", None)]:
            get = main[probe]["httpGet"]
            if get["port"] not in ports or path and get["path"] != f"/health/{path}":
                wrong(name, f"{probe} asks {get}")
        if main["readinessProbe"]["httpGet"]["path"] == main["livenessProbe"]["httpGet"]["path"]:
            wrong(name, "readiness and liveness ask the same")
        env = {entry["name"]: entry.get("value") for entry in main["env"]}
        deadline = int(env["FLOTILLA__SHUTDOWN__DEADLINE"].removesuffix("s"))
        before = main.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        if pod["terminationGracePeriodSeconds"] < before + deadline + JOBS_END_SECONDS:
            wrong(name, f"{before} s, {deadline} s and {JOBS_END_SECONDS} s do not fit into {pod['terminationGracePeriodSeconds']} s")
        if {"devices", "operators"} & ports and before == 0:
            wrong(name, "balancers are not given time to hear of its end")


def selectors_find_pods_and_ports(render):
    pods = list(render.pods())

    def found(name, selector):
        those = [(labels, pod) for _, _, labels, pod in pods if selects(selector, labels)]
        if not those:
            wrong(name, f"selects nothing: {selector}")
        return those

    def has_port(those, port):
        return any(port == of.get("name") for _, pod in those for container in containers(pod) for of in container.get("ports", []))

    for item in render.of("Deployment", "StatefulSet"):
        name = f"{render.name}: {item['kind']} {item['metadata']['name']}"
        if len(found(name, item["spec"]["selector"])) != 1:
            wrong(name, "selects pods of others")
    for item in render.of("PodDisruptionBudget"):
        if len(found(f"{render.name}: budget {item['metadata']['name']}", item["spec"]["selector"])) != 1:
            wrong(render.name, f"budget {item['metadata']['name']} is of several roles")
    for item in render.of("Service"):
        name = f"{render.name}: Service {item['metadata']['name']}"
        those = found(name, {"matchLabels": item["spec"]["selector"]})
        for port in item["spec"]["ports"]:
            if not has_port(those, port["targetPort"]):
                wrong(name, f"no pod has the port {port['targetPort']}")
    for item in render.of("PodMonitor"):
        those = found(f"{render.name}: PodMonitor", item["spec"]["selector"])
        if len(those) != len(render.of("Deployment", "StatefulSet")) or not has_port(those, item["spec"]["podMetricsEndpoints"][0]["port"]):
            wrong(render.name, "the PodMonitor does not see every role")
    for item in render.of("ServiceMonitor"):
        services = [of for of in render.of("Service") if selects(item["spec"]["selector"], of["metadata"]["labels"])]
        if len(services) != 1 or services[0]["spec"]["ports"][0]["name"] != item["spec"]["endpoints"][0]["port"]:
            wrong(render.name, "the ServiceMonitor finds no Service, or several")
        elif len(found(render.name, {"matchLabels": services[0]["spec"]["selector"]})) != len(render.of("Deployment", "StatefulSet")):
            wrong(render.name, "the ServiceMonitor does not see every role")
    for item in render.of("Ingress", "HTTPRoute"):
        rules = item["spec"]["rules"]
        if item["kind"] == "Ingress":
            backends = [(path["backend"]["service"]["name"], path["backend"]["service"]["port"]["number"]) for rule in rules for path in rule["http"]["paths"]]
        else:
            backends = [(backend["name"], backend["port"]) for rule in rules for backend in rule["backendRefs"]]
        for service, port in backends:
            target = render.one("Service", service)
            if not target or port not in [of["port"] for of in target["spec"]["ports"]]:
                wrong(render.name, f"{item['kind']} {item['metadata']['name']} leads to {service}:{port}, which is not there")


def networks_are_closed_but_for_named_peers(render):
    policies = render.of("NetworkPolicy")
    if not policies:
        return
    for name, item, labels, pod in render.pods():
        of_pod = [policy for policy in policies if selects(policy["spec"]["podSelector"], labels)]
        if not any(set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"} and not policy["spec"].get("ingress") and not policy["spec"].get("egress") for policy in of_pod) and not any(
            "migrate" in policy["metadata"]["name"] for policy in of_pod
        ):
            wrong(name, "is not denied by default")
        ways_in = {port["port"] for policy in of_pod for rule in policy["spec"].get("ingress", []) for port in rule.get("ports", [])}
        listens = {port["name"] for container in containers(pod) for port in container.get("ports", [])}
        if ways_in - listens:
            wrong(name, f"is open on {ways_in - listens}, where it does not listen")
        for port in listens - ways_in:
            wrong(name, f"nobody may come to its port {port}")
        ways_out = {port["port"] for policy in of_pod for rule in policy["spec"].get("egress", []) for port in rule.get("ports", [])}
        if 53 not in ways_out:
            wrong(name, "may not ask for names")
        for server, ports in server_ports(render).items():
            # Stored trees are looked after with Scylla alone; every other role works on all three.
            needs = labels["app.kubernetes.io/component"] in ROLES and (server == "scylla" or labels["app.kubernetes.io/component"] != "snapshot")
            if needs and not ports <= ways_out:
                wrong(name, f"may not go to {server}")
            if not needs and labels["app.kubernetes.io/component"] in ROLES and ports & ways_out:
                wrong(name, f"may go to {server}, which it does not need")
        for policy in of_pod:
            for rule in policy["spec"].get("ingress", []) + policy["spec"].get("egress", []):
                if not rule.get("ports"):
                    wrong(name, f"{policy['metadata']['name']} opens every port")


ROLES = ("session", "campaign", "snapshot", "notify", "admin")


def server_ports(render):
    """The ports of the servers that the settings name."""
    settings = tomllib.loads(render.one("ConfigMap", fullname(render))["data"]["flotilla.toml"])
    if settings.get("storage", {}).get("backend") != "cluster":
        return {}
    port = lambda address: int(address.rstrip("/").rsplit(":", 1)[1])
    return {
        "redis": {port(node) for node in settings["redis"]["nodes"]},
        "kafka": {port(broker) for broker in settings["kafka"]["bootstrap"].split(",")},
        "scylla": {port(point) for point in settings["scylla"]["contact_points"]},
    }


def scaling_is_within_partitions(render):
    for item in render.of("HorizontalPodAutoscaler", "ScaledObject"):
        name = f"{render.name}: {item['kind']} {item['metadata']['name']}"
        target = render.one("Deployment", item["spec"]["scaleTargetRef"]["name"])
        if not target:
            wrong(name, "scales nothing")
        elif "replicas" in target["spec"]:
            wrong(name, "an upgrade would set the number of pods back")
    settings = tomllib.loads(render.one("ConfigMap", fullname(render))["data"]["flotilla.toml"]).get("kafka", {})
    prefix = settings.get("prefix", "")
    partitions = {f"{prefix}dm.{topic}": settings.get(f"{topic}_partitions") for topic in ("jobs", "triggers", "events")}
    for item in render.of("ScaledObject"):
        for trigger in item["spec"]["triggers"]:
            topic = trigger["metadata"]["topic"]
            if item["spec"]["maxReplicaCount"] > partitions.get(topic, 0):
                wrong(render.name, f"more pods than partitions of {topic}")
            group = prefix + GROUPS[topic.removeprefix(f"{prefix}dm.")]
            if trigger["metadata"]["consumerGroup"] != group:
                wrong(render.name, f"the scaler of {topic} looks at {trigger['metadata']['consumerGroup']}, and the program reads it as {group}")
            if trigger["metadata"]["bootstrapServers"] != settings["bootstrap"]:
                wrong(render.name, f"the scaler of {topic} asks other brokers")
        reference = trigger.get("authenticationRef")
        if reference and not render.one("TriggerAuthentication", reference["name"]):
            wrong(render.name, f"the scaler has no {reference['name']}")


def fullname(render):
    """Of the release: the name of the ConfigMap that pods have their settings from."""
    pod = next(pod for _, item, _, pod in render.pods() if item["kind"] != "Job")
    return next(volume for volume in pod["volumes"] if volume["name"] == "settings")["configMap"]["name"]


def settings_are_taken_by_the_program(render):
    for item in render.of("ConfigMap"):
        text = item["data"].get("flotilla.toml")
        if text is None:
            continue
        name = f"{render.name}: {item['metadata']['name']}"
        roles = [pod["containers"][0]["args"] for _, of, _, pod in render.pods() if of["kind"] != "Job"]
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write(text)
            file.flush()
            done = run(FLOTILLA, "config", "check", file.name, env={})
            if done.returncode != 0:
                wrong(name, f"the program says\n{done.stdout}{done.stderr}")
            for args in roles:
                done = run(FLOTILLA, *[file.name if arg.endswith("flotilla.toml") else arg for arg in args], "--check-config", env={"FLOTILLA__SHUTDOWN__DEADLINE": "25s"})
                if done.returncode != 0:
                    wrong(name, f"the program says of {args}\n{done.stdout}{done.stderr}")


def commands_are_the_programs(render):
    """Each container's arguments are those of a command that there is: with --help behind them the program knows them all."""
    for name, _, _, pod in render.pods():
        for container in containers(pod):
            done = run(FLOTILLA, *container["args"], "--help", env={})
            if done.returncode != 0:
                wrong(name, f"{container['args']}: {done.stderr}")


def files_of_secrets_are_mounted(render):
    """Each file that the settings name is in the pods of the roles that read it, and nothing else is."""
    text = render.one("ConfigMap", fullname(render))["data"]["flotilla.toml"]
    named = {path.removeprefix(SECRETS) for path in re.findall(rf'"({SECRETS}[^"]+)"', text)}
    of_everyone = {path for path in named if not path.startswith(("admin/", "admin-tls/", "device-tls/"))}
    for name, item, labels, pod in render.pods():
        if item["kind"] == "Job":
            continue
        role = labels["app.kubernetes.io/component"]
        # Stored trees are looked after with Scylla alone.
        expected = {path for path in of_everyone if role != "snapshot" or path.startswith("scylla/")}
        expected |= {path for path in named if path.startswith(("admin/", "admin-tls/")) and role in ("admin", "embedded")}
        expected |= {path for path in named if path.startswith("device-tls/") and role in ("session", "embedded")}
        mounted = {
            of["path"]
            for volume in pod["volumes"]
            for source in volume.get("projected", {}).get("sources", [])
            for of in source["secret"]["items"]
        }
        if mounted != expected:
            wrong(name, f"has the secrets {sorted(mounted)}, and the settings name {sorted(expected)}")
        gateways = any(volume["name"] == "gateways" for volume in pod["volumes"])
        if gateways and role not in ("notify", "embedded"):
            wrong(name, "has the gateways' secrets")
        if role in ("notify", "embedded") and "/etc/flotilla/gateways/" in text and not gateways:
            wrong(name, "has not the gateways' secrets")


def rules_and_dashboards_arrive_as_they_are(render):
    """Both are full of braces, which a template must not take for its own."""
    rules = [item["spec"] for item in render.of("PrometheusRule")]
    boards = [text for item in render.of("ConfigMap") for name, text in item["data"].items() if name.endswith(".json")]
    files = CHART / "files"
    if rules and rules != [yaml.safe_load(path.read_text()) for path in sorted((files / "rules").glob("*.yaml"))]:
        wrong(render.name, "the rules are not those of files/rules")
    if boards and [json.loads(text) for text in boards] != [json.loads(path.read_text()) for path in sorted((files / "dashboards").glob("*.json"))]:
        wrong(render.name, "the dashboards are not those of files/dashboards")
    if render.name in ("large", "everything") and not (rules and boards):
        wrong(render.name, "has no rules or no dashboards")


def embedded_is_one_process_with_a_volume(render):
    if render.name != "embedded":
        return
    sets = render.of("StatefulSet")
    if len(sets) != 1 or render.of("Deployment") or sets[0]["spec"]["replicas"] != 1:
        return wrong(render.name, "is not one StatefulSet of one pod")
    settings = tomllib.loads(render.one("ConfigMap", fullname(render))["data"]["flotilla.toml"])
    mounts = {mount["mountPath"]: mount["name"] for mount in sets[0]["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]}
    claims = [claim["metadata"]["name"] for claim in sets[0]["spec"]["volumeClaimTemplates"]]
    if settings["storage"]["backend"] != "embedded" or mounts.get(settings["storage"]["data"]) not in claims:
        wrong(render.name, "does not keep its data in its volume")


class Process:
    """A container as a process of this machine: its arguments and environment, its settings with paths and ports of this machine."""

    def __init__(self, render, container, folder):
        self.container = container
        text = render.one("ConfigMap", fullname(render))["data"]["flotilla.toml"]
        self.ports = {}
        for port in container.get("ports", []):
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.ports[port["name"]] = probe.getsockname()[1]
            text = text.replace(f"0.0.0.0:{port['containerPort']}", f"127.0.0.1:{self.ports[port['name']]}")
        self.folder = folder
        data = folder / f"data-{len(list(folder.iterdir()))}"
        text = text.replace("/var/lib/flotilla", str(data)).replace(SECRETS, f"{folder}/secrets/")
        settings = folder / f"{data.name}.toml"
        settings.write_text(text)
        arguments = [part.replace("/etc/flotilla/config/flotilla.toml", str(settings)).replace(SECRETS, f"{folder}/secrets/") for part in container["args"]]
        self.command = [FLOTILLA, *arguments]
        self.environment = {entry["name"]: entry["value"] for entry in container.get("env", [])}

    def start(self):
        self.log = open(self.folder / "log", "a+")
        self.running = subprocess.Popen(self.command, env=self.environment, stdout=self.log, stderr=self.log)

    def status(self, port, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[port]}{path}", timeout=5) as answer:
                return answer.status
        except urllib.error.HTTPError as answer:
            return answer.code
        except OSError:
            return None

    def probe(self, name):
        get = self.container[name]["httpGet"]
        return self.status(get["port"], get["path"])

    def comes_to(self, name):
        """Whether a probe succeeds within half a minute."""
        end = time.monotonic() + 30
        while self.probe(name) != 200:
            if time.monotonic() > end or self.running.poll() is not None:
                return False
            time.sleep(0.1)
        return True


def runs_as_its_pods_do(render):
    """What the chart would run, run here: the migration, each pod with its probes and its end, and the test."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="flotilla-chart-"))
    for kind in ("admin", "keys"):
        (folder / "secrets" / kind).mkdir(parents=True)
    (folder / "secrets/admin/admin.token").write_text("0123456789abcdef0123456789abcdef\n")
    (folder / "secrets/keys/keys").write_text(run(FLOTILLA, "secrets", "new-key", "--id", "1").stdout)
    processes = []

    def job(suffix, address=None):
        item = next((item for item in render.of("Job") if item["metadata"]["name"].endswith(suffix)), None)
        for container in containers(item["spec"]["template"]["spec"]) if item else []:
            process = Process(render, container, folder)
            command = [f"http://127.0.0.1:{address}" if part.startswith("http://") else part for part in process.command]
            done = run(*command, env=process.environment)
            if done.returncode != 0:
                wrong(f"{render.name}: {item['metadata']['name']} {container['name']}", f"{done.stdout}{done.stderr}")

    try:
        job("-migrate")
        for name, item, _, pod in render.pods():
            if item["kind"] != "Job":
                process = Process(render, pod["containers"][0], folder)
                process.name = name
                process.start()
                processes.append(process)
        for process in processes:
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                if not process.comes_to(probe):
                    wrong(process.name, f"{probe} does not succeed\n{(folder / 'log').read_text()[-2000:]}")
            if process.status("health", "/metrics") != 200:
                wrong(process.name, "shows no metrics")
            # Neither is asked as it should be, and both say so: so there they are.
            if "devices" in process.ports and process.status("devices", "/dm") != 405:
                wrong(process.name, f"devices are answered {process.status('devices', '/dm')}")
            if "operators" in process.ports and process.status("operators", "/v1/devices") != 401:
                wrong(process.name, f"operators are answered {process.status('operators', '/v1/devices')}")
        job("-test", next(process.ports["operators"] for process in processes if "operators" in process.ports))
        for process in processes:
            process.running.send_signal(signal.SIGTERM)
        for process in processes:
            code = process.running.wait(timeout=45)
            if code != 0:
                wrong(process.name, f"ends with {code} after SIGTERM\n{(folder / 'log').read_text()[-2000:]}")
    finally:
        for process in processes:
            if process.running.poll() is None:
                process.running.kill()
                process.running.wait()
    if not failures:
        run("rm", "-r", folder)


def over_real_servers():
    """The cluster's pods, over the servers that the tests of the other crates use too."""
    servers = {name: os.environ.get(f"FLOTILLA_TEST_{name}") for name in ("REDIS", "KAFKA", "CASSANDRA")}
    if not all(servers.values()):
        if os.environ.get("CI") == "true":
            wrong("cluster", f"expected the addresses of servers, got {servers}")
        return print("cluster: skipped, as FLOTILLA_TEST_REDIS, _KAFKA and _CASSANDRA are not all set")
    own = f"chart_{os.getpid()}_{int(time.time())}"
    settings = {
        "redis": {"nodes": [servers["REDIS"]], "key_prefix": f"{own}:"},
        "kafka": {"bootstrap": servers["KAFKA"], "prefix": f"{own}-"},
        "scylla": {"contact_points": [servers["CASSANDRA"]], "keyspace": own, "request_timeout": "20s"},
    }
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        json.dump({"config": settings}, file)
        file.flush()
        render = Render(CHART / "profiles/dev.yaml", pathlib.Path(file.name))
    runs_as_its_pods_do(render)
    print("cluster: ran over real servers")


def wrong_values_are_refused():
    for case in yaml.safe_load((TESTS / "refused.yaml").read_text()):
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            json.dump(case["values"], file)
            file.flush()
            done = template(CHART / "profiles" / f"{case['profile']}.yaml", file.name)
        if done.returncode == 0:
            wrong("refused", f"{case['values']} is taken")
        elif case["says"] not in done.stderr:
            wrong("refused", f"{case['values']}: expected {case['says']!r}, got {done.stderr}")


def defaults_alone_say_what_is_missing():
    done = template()
    missing = ["config.redis.nodes", "config.kafka.bootstrap", "config.scylla.contact_points", "secrets.keys", "secrets.admin"]
    if done.returncode == 0 or any(key not in done.stderr for key in missing):
        wrong("defaults", f"expected {missing} to be named, got {done.stderr}")


def partitions_are_the_programs_defaults():
    values = yaml.safe_load((CHART / "values.yaml").read_text())["config"]["kafka"]
    for key, value in values.items():
        if f"\n#{key} = {value}\n" not in SETTINGS:
            wrong("values.yaml", f"config.kafka.{key} is {value}, and the program's default is another")


def package_has_all_its_files():
    with tempfile.TemporaryDirectory() as folder:
        done = run(HELM, "package", CHART, "--destination", folder)
        packed = list(pathlib.Path(folder).glob("*.tgz"))
        if done.returncode != 0 or len(packed) != 1:
            return wrong("package", done.stderr)
        sample = SAMPLES[0]
        if template(sample, chart=packed[0]).stdout != template(sample).stdout:
            wrong("package", "renders otherwise than the folder")


def main():
    arguments = sys.argv[1:]
    update = "--update" in arguments
    definitions = tuple(argument for argument in arguments if argument != "--update")
    # Each call would read the same large files again.
    kubernetes_validate.utils.schema_contents = functools.cache(kubernetes_validate.utils.schema_contents)
    kept = {path.stem for path in (TESTS / "golden").glob("*.yaml")}
    for name in kept - {path.stem for path in SAMPLES}:
        wrong("golden", f"{name}.yaml is of no values file")
    for path in SAMPLES:
        render = Render(path)
        lint_is_quiet(render, path)
        renders_as_kept(render, update)
        renders_the_same_twice(render, path)
        fits_the_schemas(render, definitions)
        for claim in (
            names_are_short_and_labelled,
            pods_pass_the_restricted_standard,
            probes_and_drains_fit,
            selectors_find_pods_and_ports,
            networks_are_closed_but_for_named_peers,
            scaling_is_within_partitions,
            settings_are_taken_by_the_program,
            commands_are_the_programs,
            files_of_secrets_are_mounted,
            rules_and_dashboards_arrive_as_they_are,
            embedded_is_one_process_with_a_volume,
        ):
            claim(render)
        if render.name == "embedded":
            runs_as_its_pods_do(render)
        print(f"{render.name}: {len(render.objects)} objects")
    wrong_values_are_refused()
    defaults_alone_say_what_is_missing()
    partitions_are_the_programs_defaults()
    package_has_all_its_files()
    over_real_servers()
    for failure in failures:
        print(failure, file=sys.stderr)
    sys.exit(1 if failures else 0)


main()
