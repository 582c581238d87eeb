#!/usr/bin/env python3
"""Holds rules, dashboards and runbooks against the metrics that there are.

  flotilla metrics -o json | deploy/observability/verify.py            # checks
  flotilla metrics -o json | deploy/observability/verify.py --scrape F # also: every metric of the scrape F is in the reference

Every query names metrics of the reference, labels that those metrics have, and values that those labels take; every
alert has a severity, a summary and a runbook with the usual chapters, is fired by one test and kept silent by another;
every metric that stands in the sources stands in the reference.
"""

import argparse
import json
import pathlib
import re
import sys

import yaml

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
RUNBOOKS = ROOT / "docs" / "runbooks"
CHAPTERS = ["## What it means", "## What devices and operators see", "## How to look", "## What to do"]
SEVERITIES = {"critical", "warning"}

# What Prometheus puts beside the labels of a metric.
TARGET_LABELS = {"namespace", "job", "instance", "pod"}

TOKEN = re.compile(
    r"""(?P<comment>\#[^\n]*)
      | (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`)
      | (?P<range>\[[^\]]*\])
      | (?P<number>(?:\d[\w.]*|\.\d+))
      | (?P<name>[A-Za-z_:$][\w:]*)
      | (?P<op>=~|!~|!=|==|<=|>=|[-+*/%^=<>(){},@])
      | (?P<space>\s+)""",
    re.VERBOSE,
)
WORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan", "start", "end"}
GROUPING = {"by", "without", "on", "ignoring", "group_left", "group_right"}


class Problem(Exception):
    pass


def tokens(query):
    at = 0
    while at < len(query):
        match = TOKEN.match(query, at)
        if not match:
            raise Problem(f"cannot read the query at {query[at:at + 20]!r}")
        at = match.end()
        if match.lastgroup not in ("space", "comment", "range"):
            yield match.lastgroup, match.group()


def parse(query):
    """The selectors of a query, as (metric, [(label, operator, value)]), and the labels that it groups by."""
    found, grouped = [], []
    stream = list(tokens(query))
    at = 0

    def text(offset):
        return stream[at + offset][1] if at + offset < len(stream) else ""

    while at < len(stream):
        kind, word = stream[at]
        if kind != "name" or word.lower() in WORDS or word.startswith("$"):
            if word == "{":
                raise Problem("a selector without a metric's name")
            at += 1
        elif word.lower() in GROUPING:
            at += 1
            if text(0) == "(":
                at += 1
                while text(0) != ")":
                    if text(0) != ",":
                        grouped.append(text(0))
                    at += 1
                at += 1
        elif text(1) == "(" or text(1).lower() in ("by", "without"):
            at += 1  # A function or an aggregation.
        else:
            matchers = []
            at += 1
            if text(0) == "{":
                at += 1
                while text(0) != "}":
                    if text(0) == ",":
                        at += 1
                        continue
                    matchers.append((text(0), text(1), text(2)[1:-1]))
                    at += 3
                at += 1
            found.append((word, matchers))
    return found, grouped


class Reference:
    """The metrics that the program makes, and what rules record of them."""

    def __init__(self, chapters):
        self.families = {row["name"]: row for chapter in chapters for row in chapter["metrics"]}
        self.recorded = {}

    def labels(self, metric):
        """The labels of a series with their values; None as the values: any."""
        if metric == "up":
            return {}
        if metric in self.recorded:
            return dict.fromkeys(self.recorded[metric])
        family, extra = self.families.get(metric), {}
        if family is None:
            for suffix in ("_bucket", "_sum", "_count"):
                family = self.families.get(metric.removesuffix(suffix)) if metric.endswith(suffix) else None
                if family is not None and family["kind"] == "histogram":
                    extra = {"le": None} if suffix == "_bucket" else {}
                    break
            else:
                raise Problem(f"no metric {metric}")
        elif family["kind"] == "histogram":
            raise Problem(f"{metric} is a histogram: name its _bucket, _sum or _count")
        is_open = lambda values: all(re.fullmatch(r"[0-9.]+", value) for value in values)
        known = {label: None if is_open(values) else values for label, values in family["labels"].items()}
        return known | extra

    def check(self, query, variables=()):
        for name in variables:
            query = query.replace("${" + name + "}", "$" + name)
        query = query.replace("$__rate_interval", "5m").replace("$__interval", "1m").replace("$__range", "1h")
        selectors, grouped = parse(query)
        if not selectors:
            raise Problem("names no metric")
        everywhere = set(TARGET_LABELS)
        for metric, matchers in selectors:
            labels = self.labels(metric)
            everywhere |= labels.keys()
            for label, operator, value in matchers:
                if label not in labels and label not in TARGET_LABELS:
                    raise Problem(f"{metric} has no label {label}")
                values = labels.get(label)
                if values is None or "$" in value:
                    continue
                wanted = value.split("|") if operator in ("=~", "!~") else [value]
                for one in wanted:
                    if not any(re.fullmatch(one, known) for known in values):
                        raise Problem(f"{metric}: the label {label} is never {one}, only {', '.join(values)}")
        for label in grouped:
            if label not in everywhere:
                raise Problem(f"grouped by {label}, which no metric of the query has")
        return selectors


def in_rates(query, reference):
    """A counter is looked at by its growth, a gauge is not."""
    for metric, inside in re.findall(r"\b(rate|increase|irate)\(\s*([a-zA-Z_:]\w*)", query):
        family = reference.families.get(inside)
        if family and family["kind"] == "gauge":
            raise Problem(f"{metric} of {inside}, which is a gauge")


def rule_files():
    return sorted((HERE / "rules").glob("*.yaml"))


def check_rules(reference, problems):
    alerts = {}
    rules = [
        (path.name, rule)
        for path in rule_files()
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
    ]
    for _, rule in rules:
        if "record" in rule:
            reference.recorded[rule["record"]] = {"namespace", "job"}
    for file, rule in rules:
        name = rule.get("alert") or rule["record"]
        try:
            reference.check(rule["expr"])
            in_rates(rule["expr"], reference)
            if "alert" in rule:
                check_alert(name, rule)
                alerts[name] = rule
        except Problem as problem:
            problems.append(f"rules/{file}: {name}: {problem}")
    return alerts


def check_alert(name, rule):
    if rule.get("labels", {}).get("severity") not in SEVERITIES:
        raise Problem(f"expected a severity of {', '.join(sorted(SEVERITIES))}")
    annotations = rule.get("annotations", {})
    for key in ("summary", "description", "runbook_url"):
        if not annotations.get(key):
            raise Problem(f"expected an annotation {key}")
    if not annotations["runbook_url"].endswith(f"/docs/runbooks/{name}.md"):
        raise Problem(f"expected a runbook_url that ends with /docs/runbooks/{name}.md")
    path = RUNBOOKS / f"{name}.md"
    if not path.exists():
        raise Problem(f"no runbook {path.relative_to(ROOT)}")
    runbook = path.read_text()
    at = -1
    for chapter in CHAPTERS:
        following = runbook.find(f"\n{chapter}\n")
        if following <= at:
            raise Problem(f"{path.relative_to(ROOT)}: expected the chapters {', '.join(CHAPTERS)} in this order")
        at = following


def check_runbooks(alerts, reference, problems):
    index = (RUNBOOKS / "README.md").read_text()
    for path in sorted(RUNBOOKS.glob("*.md")):
        if path.name != "README.md" and path.stem not in alerts:
            problems.append(f"docs/runbooks/{path.name}: no alert of this name")
        for metric in re.findall(r"\b(?:dm|process)_[a-z0-9_]*[a-z0-9]\b", path.read_text()):
            try:
                reference.labels(metric)
            except Problem as problem:
                if metric not in reference.families:
                    problems.append(f"docs/runbooks/{path.name}: {problem}")
    for name, rule in alerts.items():
        row = f"[{name}]({name}.md) | {rule['labels']['severity']} |"
        if row not in index:
            problems.append(f"docs/runbooks/README.md: expected a row with {row}")


def check_tests(alerts, problems):
    fires, silent = set(), set()
    for path in sorted((HERE / "tests").glob("*.yaml")):
        for test in yaml.safe_load(path.read_text())["tests"]:
            for case in test["promql_expr_test"]:
                for name in re.findall(r'ALERTS\{[^}]*alertname="(\w+)"', case["expr"]):
                    (fires if case["exp_samples"] else silent).add(name)
                    if name not in alerts:
                        problems.append(f"tests/{path.name}: no alert {name}")
    for name in alerts:
        if name not in fires:
            problems.append(f"{name}: no test in which it fires")
        if name not in silent:
            problems.append(f"{name}: no test in which it stays silent")


def panels_of(dashboard):
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", [])


def check_dashboards(reference, problems):
    queries, seen = [], {}
    for path in sorted((HERE / "dashboards").glob("*.json")):
        dashboard = json.loads(path.read_text())
        if seen.setdefault(dashboard["uid"], path.name) != path.name:
            problems.append(f"dashboards/{path.name}: the uid of {seen[dashboard['uid']]}")
        variables = [variable["name"] for variable in dashboard["templating"]["list"]]
        for panel in panels_of(dashboard):
            for target in panel.get("targets", []):
                where = f"dashboards/{path.name}: {panel['title']}"
                try:
                    reference.check(target["expr"], variables)
                    in_rates(target["expr"], reference)
                    queries.append((where, target["expr"]))
                except Problem as problem:
                    problems.append(f"{where}: {problem}")
        for variable in dashboard["templating"]["list"]:
            match = re.match(r"label_values\((\w+),\s*(\w+)\)", variable.get("query", ""))
            if match:
                try:
                    if match.group(2) not in reference.labels(match.group(1)).keys() | TARGET_LABELS:
                        raise Problem(f"{match.group(1)} has no label {match.group(2)}")
                except Problem as problem:
                    problems.append(f"dashboards/{path.name}: the variable {variable['name']}: {problem}")
    if not queries:
        problems.append("no dashboard has a query")
    return queries


def as_rules(queries):
    """The dashboards' queries as rules, for promtool to read: it knows the language better than we do."""
    def plain(query):
        query = query.replace("$__rate_interval", "5m").replace("$__interval", "1m").replace("$__range", "1h")
        return re.sub(r"\$\{?\w+\}?", "x", query)

    rules = [{"record": f"dashboard:query_{at}", "expr": plain(query)} for at, (_, query) in enumerate(queries)]
    return yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]})


def check_sources(reference, problems):
    """A metric that is made late, by a part that the reference has not heard of."""
    for folder in ("libs", "services", "loadtest"):
        for path in sorted((ROOT / folder).glob("**/src/**/*.rs")):
            if "tests" in path.stem or path.name == "conventions.rs":
                continue
            # A test module stands at the end of its file.
            source = re.split(r"#\[cfg\(test\)\]\s*mod tests \{", path.read_text())[0]
            for name in re.findall(r'"((?:dm|flotilla|process)_[a-z0-9_]+)"', source):
                if name not in reference.families:
                    problems.append(f"{path.relative_to(ROOT)}: {name} is not in the reference")


def check_scrape(path, reference, problems):
    shown = set(re.findall(r"^# TYPE (\S+) ", pathlib.Path(path).read_text(), re.MULTILINE))
    for name in sorted(shown - reference.families.keys()):
        problems.append(f"{path}: {name} is shown and is not in the reference")
    if not shown:
        problems.append(f"{path}: shows no metric")
    print(f"scraped: {len(shown)} metrics")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scrape", help="what a process shows at /metrics")
    parser.add_argument("--dashboard-rules", help="where to write the dashboards' queries as rules")
    arguments = parser.parse_args()
    reference, problems = Reference(json.load(sys.stdin)), []
    alerts = check_rules(reference, problems)
    check_tests(alerts, problems)
    check_runbooks(alerts, reference, problems)
    queries = check_dashboards(reference, problems)
    check_sources(reference, problems)
    if arguments.scrape:
        check_scrape(arguments.scrape, reference, problems)
    if arguments.dashboard_rules:
        pathlib.Path(arguments.dashboard_rules).write_text(as_rules(queries))
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    print(f"{len(reference.families)} metrics, {len(alerts)} alerts, {len(queries)} queries of dashboards, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
