#!/usr/bin/env python3
"""Writes the Grafana dashboards of dashboards/ from what stands here.

  deploy/observability/dashboards.py           # writes them
  deploy/observability/dashboards.py --check   # exits 1 where they are not what this writes

A dashboard is rows of panels; a panel is a title, queries with what their lines are called, and a unit of Grafana. S stands
in a query for the matchers of the variables at the top: {namespace=~..., job=~...}.
"""

import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent / "dashboards"
SELECTOR = 'namespace=~"$namespace", job=~"$job"'
WIDTH, ROW_HEIGHT, STAT_HEIGHT = 24, 8, 4


def panel(title, *queries, unit="short", kind="timeseries", stack=False, about="", red_above=None):
    return dict(title=title, queries=queries, unit=unit, kind=kind, stack=stack, about=about, red_above=red_above)


def stat(title, query, **options):
    return panel(title, (query, ""), kind="stat", **options)


def quantiles(metric, by="", matchers=""):
    group = f"le, {by}" if by else "le"
    name = f" {{{{{by}}}}}" if by else ""
    return [
        (f"histogram_quantile({q}, sum by ({group}) (rate({metric}_bucket{{{matchers}S}}[$__rate_interval])))", f"p{label}{name}")
        for q, label in ((0.5, "50"), (0.95, "95"), (0.99, "99"))
    ]


MESSAGES_IN = 'dm_messages_total{direction="in", S}'
FAILED_IN = 'dm_messages_total{direction="in", result=~"unavailable|internal", S}'

OVERVIEW = (
    "overview",
    "Flotilla: overview",
    "Is everything well? From the devices' side first, then campaigns, then what it runs on.",
    [
        (
            "Now",
            [
                stat("Messages a second", f"sum(rate({MESSAGES_IN}[$__rate_interval]))", unit="reqps"),
                stat("Without an answer", f"sum(rate({FAILED_IN}[$__rate_interval])) / sum(rate({MESSAGES_IN}[$__rate_interval]))", unit="percentunit", red_above=0.001),
                stat("99 % answered within", quantiles("dm_message_duration_seconds")[2][0], unit="s", red_above=1),
                stat("Devices in flight", "sum(dm_campaign_in_flight_devices{S})"),
                stat("Campaigns held", 'sum(dm_campaigns{state="held", S})', red_above=0.5, about="Paused until a person decides."),
                stat("Processes not ready", "count(dm_ready{S} == 0) or vector(0)", red_above=0.5),
            ],
        ),
        (
            "Devices",
            [
                panel("Messages by what became of them", (f"sum by (result) (rate({MESSAGES_IN}[$__rate_interval]))", "{{result}}"), unit="reqps", stack=True),
                panel("Time to answer", *quantiles("dm_message_duration_seconds"), unit="s"),
                panel("Told to come later", ("sum by (reason) (rate(dm_shed_total{S}[$__rate_interval]))", "{{reason}}"), unit="reqps"),
            ],
        ),
        (
            "Campaigns",
            [
                panel("Campaigns by state", ("sum by (state) (dm_campaigns{S})", "{{state}}"), stack=True),
                panel("Devices by state", ("sum by (state) (dm_campaign_devices{S})", "{{state}}"), stack=True),
                panel("Triggers by what became of them", ("sum by (result) (rate(dm_triggers_total{S}[$__rate_interval]))", "{{result}}"), unit="reqps", stack=True),
            ],
        ),
        (
            "Processes",
            [
                panel("Versions", ("count by (version, job) (dm_build_info{S})", "{{job}} {{version}}"), stack=True),
                panel("Processor", ("rate(process_cpu_seconds_total{S}[$__rate_interval])", "{{job}} {{instance}}"), about="Cores."),
                panel("Memory", ("process_resident_memory_bytes{S}", "{{job}} {{instance}}"), unit="bytes"),
                panel("Open files and connections, of those allowed", ("process_open_fds{S} / process_max_fds{S}", "{{job}} {{instance}}"), unit="percentunit"),
                panel("Certificates: time left", ("min by (listener, job) (dm_tls_certificate_expiry_timestamp_seconds{S}) - time()", "{{job}} {{listener}}"), unit="s"),
                panel("Disk of the data directory: free", ("dm_data_filesystem_avail_bytes{S} / dm_data_filesystem_size_bytes{S}", "{{instance}}"), unit="percentunit", about="The embedded store only."),
            ],
        ),
    ],
)

CAMPAIGNS = (
    "campaigns",
    "Flotilla: campaigns",
    "All campaigns together: one campaign is shown by `flotilla campaign watch`, the console and the API.",
    [
        (
            "Now",
            [
                stat("Running", 'sum(dm_campaigns{state="running", S})'),
                stat("Held, waiting for a person", 'sum(dm_campaigns{state="held", S})', red_above=0.5),
                stat("Without an owner", "max(dm_known_campaigns{S}) - sum(dm_campaigns{S})", red_above=0.5, about="For a moment while one moves to another process."),
                stat("Over their budget", "sum(dm_over_budget_campaigns{S})", red_above=0.5, about="Never above 0."),
                stat("Longest standstill", "max(dm_campaign_idle_seconds{S})", unit="s", red_above=21600),
                stat("Budget in use", "sum(dm_campaign_in_flight_devices{S}) / sum(dm_campaign_budget_devices{S})", unit="percentunit"),
            ],
        ),
        (
            "Devices",
            [
                panel("In flight and the budget", ("sum(dm_campaign_in_flight_devices{S})", "in flight"), ("sum(dm_campaign_budget_devices{S})", "budget")),
                panel(
                    "In flight by phase",
                    ('sum by (state) (dm_campaign_devices{state=~"waiting|session|downloading|downloaded|updating|reported", S})', "{{state}}"),
                    stack=True,
                ),
                panel(
                    "At their end, of campaigns that are not over",
                    ('sum by (state) (dm_campaign_devices{state=~"succeeded|failed|silent|refused|cancelled|gone", S})', "{{state}}"),
                    stack=True,
                ),
                panel("To come", ('sum by (state) (dm_campaign_devices{state=~"pending|retry", S})', "{{state}}"), stack=True),
            ],
        ),
        (
            "The owners' work",
            [
                panel("Jobs given to devices", ("sum by (instance) (rate(dm_campaign_released_jobs_total{S}[$__rate_interval]))", "{{instance}}"), unit="ops"),
                panel("Steps that a store failed", ("sum by (instance) (rate(dm_campaign_step_failures_total{S}[$__rate_interval]))", "{{instance}}"), unit="ops"),
                panel("Campaigns by owner", ("sum by (instance) (dm_campaigns{S})", "{{instance}}"), stack=True),
            ],
        ),
        (
            "On their way",
            [
                panel("Triggers by what became of them", ("sum by (result) (rate(dm_triggers_total{S}[$__rate_interval]))", "{{result}}"), unit="reqps", stack=True),
                panel("Triggers sent again", ("sum(rate(dm_triggers_repeated_total{S}[$__rate_interval]))", "again"), unit="reqps"),
                panel("Waiting in topics", ("sum by (topic) (dm_kafka_consumer_lag_messages{S})", "{{topic}}"), about="Jobs to devices, triggers, and events back."),
                panel("Downloads by their end", ("sum by (result) (rate(dm_downloads_total{S}[$__rate_interval]))", "{{result}}"), unit="reqps", stack=True),
                panel("Octets of artifacts sent", ("sum(rate(dm_download_bytes_total{S}[$__rate_interval]))", "sent"), unit="Bps"),
            ],
        ),
    ],
)

SESSIONS = (
    "sessions",
    "Flotilla: the session path",
    "What happens to a message between the socket and the answer, process by process.",
    [
        (
            "Promise",
            [
                panel(
                    "Messages without an answer",
                    ("namespace_job:dm_session_failures:ratio_rate5m{S}", "5 minutes {{job}}"),
                    ("namespace_job:dm_session_failures:ratio_rate1h{S}", "1 hour {{job}}"),
                    ("namespace_job:dm_session_failures:ratio_rate6h{S}", "6 hours {{job}}"),
                    unit="percentunit",
                    about="The objective is 0.1 %.",
                    red_above=0.001,
                ),
                panel(
                    "Answers that take longer than a second",
                    (
                        '1 - sum by (job) (rate(dm_message_duration_seconds_bucket{le="1", S}[$__rate_interval]))'
                        " / sum by (job) (rate(dm_message_duration_seconds_count{S}[$__rate_interval]))",
                        "{{job}}",
                    ),
                    unit="percentunit",
                    about="The objective is 1 %.",
                    red_above=0.01,
                ),
            ],
        ),
        (
            "In",
            [
                panel("Connections", ("sum by (instance) (dm_connections{S})", "{{instance}}"), stack=True),
                panel("Messages by encoding", ("sum by (encoding) (rate(" + MESSAGES_IN + "[$__rate_interval]))", "{{encoding}}"), unit="reqps", stack=True),
                panel(
                    "Told to come later",
                    ("sum by (reason) (rate(dm_shed_total{S}[$__rate_interval]))", "{{reason}}"),
                    ("sum by (by) (rate(dm_rate_limited_total{S}[$__rate_interval]))", "limit: {{by}}"),
                    unit="reqps",
                ),
                panel("Being worked on", ("sum by (instance) (dm_messages_active{S})", "{{instance}}"), stack=True, about="At most session.messages_max a process."),
            ],
        ),
        (
            "Sessions",
            [
                panel(
                    "Begun and ended",
                    ("sum(rate(dm_sessions_started_total{S}[$__rate_interval]))", "begun"),
                    ("sum(rate(dm_sessions_ended_total{S}[$__rate_interval]))", "ended"),
                    unit="ops",
                    about="What began and did not end was broken off by its device.",
                ),
                panel("Not proved", ("sum by (scheme, reason) (rate(dm_auth_failures_total{S}[$__rate_interval]))", "{{scheme}} {{reason}}"), unit="ops"),
                panel("Connections cut off", ("sum by (listener, reason) (rate(dm_cut_connections_total{S}[$__rate_interval]))", "{{listener}} {{reason}}"), unit="ops", about="Slow on purpose, or a network that lost them."),
                panel("TLS not agreed on", ("sum by (listener, reason) (rate(dm_tls_handshake_failures_total{S}[$__rate_interval]))", "{{listener}} {{reason}}"), unit="ops", about="`certificate`: the client's is missing or bad."),
                panel("Devices that added themselves", ("sum(rate(dm_devices_enrolled_total{S}[$__rate_interval]))", "added"), unit="ops"),
                panel("Steps done again", ("sum by (instance) (rate(dm_step_conflicts_total{S}[$__rate_interval]))", "{{instance}}"), unit="ops", about="Somebody else wrote first: another message of the session, or the campaign."),
            ],
        ),
        (
            "Out",
            [
                panel("Time to answer", *quantiles("dm_message_duration_seconds"), unit="s"),
                panel("99 % of answers, by process", ("histogram_quantile(0.99, sum by (le, instance) (rate(dm_message_duration_seconds_bucket{S}[$__rate_interval])))", "{{instance}}"), unit="s"),
                panel("Time of calls to servers, 99 %", ("histogram_quantile(0.99, sum by (le, store) (rate(dm_store_call_duration_seconds_bucket{S}[$__rate_interval])))", "{{store}}"), unit="s"),
                panel("Processor time a message", ("sum by (job) (rate(process_cpu_seconds_total{S}[$__rate_interval])) / sum by (job) (rate(" + MESSAGES_IN + "[$__rate_interval]))", "{{job}}"), unit="s"),
            ],
        ),
        (
            "Downloads",
            [
                panel("By their end", ("sum by (result) (rate(dm_downloads_total{S}[$__rate_interval]))", "{{result}}"), unit="reqps", stack=True),
                panel("Octets sent", ("sum by (instance) (rate(dm_download_bytes_total{S}[$__rate_interval]))", "{{instance}}"), unit="Bps", stack=True),
            ],
        ),
    ],
)

STORES = (
    "stores",
    "Flotilla: stores and queues",
    "Redis, Kafka and Scylla as Flotilla's processes see them, the queues between the roles, and the embedded store's disk.",
    [
        (
            "Servers",
            [
                panel("Answers", ("min by (store, job) (dm_store_up{S})", "{{store}}, to {{job}}"), about="1: it does."),
                panel("Calls", ("sum by (store) (rate(dm_store_call_duration_seconds_count{S}[$__rate_interval]))", "{{store}}"), unit="ops"),
                panel("Failures", ("sum by (store, kind) (rate(dm_store_call_failures_total{S}[$__rate_interval]))", "{{store}} {{kind}}"), unit="ops"),
                panel("Time of a call", *quantiles("dm_store_call_duration_seconds", by="store"), unit="s"),
            ],
        ),
        (
            "Queues",
            [
                panel("Waiting", ("sum by (topic) (dm_kafka_consumer_lag_messages{S})", "{{topic}}")),
                panel("Waiting, by partition", ("sum by (topic, partition) (dm_kafka_consumer_lag_messages{S}) > 0", "{{topic}} {{partition}}")),
                panel("Published", ("sum by (topic) (rate(dm_kafka_published_messages_total{S}[$__rate_interval]))", "{{topic}}"), unit="ops"),
                panel("Read", ("sum by (topic) (rate(dm_kafka_consumed_messages_total{S}[$__rate_interval]))", "{{topic}}"), unit="ops"),
                panel("Put aside", ("sum by (topic) (increase(dm_kafka_dead_messages_total{S}[1h]))", "{{topic}}"), about="Within an hour. flotilla dead list shows them."),
            ],
        ),
        (
            "Trees",
            [
                panel("Devices with a tree, and past trees", ("max(dm_snapshot_trees{S})", "trees"), ("max(dm_snapshot_past_trees{S})", "past trees")),
                panel("Since the last whole collection", ("time() - max(dm_snapshot_last_success_timestamp_seconds{S})", "since"), unit="s"),
                panel("Collections by their end", ("sum by (result) (increase(dm_snapshot_collections_total{S}[$__range]))", "{{result}}")),
                panel("How long a collection takes", ("sum(increase(dm_snapshot_collection_duration_seconds_sum{S}[$__range])) / sum(increase(dm_snapshot_collection_duration_seconds_count{S}[$__range]))", "mean"), unit="s"),
                panel("Pages looked at and deleted", ("sum(rate(dm_snapshot_scanned_pages_total{S}[$__rate_interval]))", "looked at"), ("sum(rate(dm_snapshot_deleted_pages_total{S}[$__rate_interval]))", "deleted"), unit="ops"),
                panel("Octets of pages deleted", ("sum(rate(dm_snapshot_deleted_bytes_total{S}[$__rate_interval]))", "deleted"), unit="Bps"),
                panel("Past trees ended by age", ("sum(rate(dm_snapshot_past_trees_ended_total{S}[$__rate_interval]))", "ended"), unit="ops"),
            ],
        ),
        (
            "The embedded store",
            [
                panel("Disk of the data directory", ("dm_data_filesystem_size_bytes{S}", "size {{instance}}"), ("dm_data_filesystem_avail_bytes{S}", "free {{instance}}"), unit="bytes"),
                panel("Full in", ("dm_data_filesystem_avail_bytes{S} / -deriv(dm_data_filesystem_avail_bytes{S}[6h]) > 0", "{{instance}}"), unit="s", about="If it goes on as in the last six hours."),
            ],
        ),
    ],
)


def thresholds(given):
    steps = [{"color": "green", "value": None}]
    if given["red_above"] is not None:
        steps.append({"color": "red", "value": given["red_above"]})
    return {"mode": "absolute", "steps": steps}


def grafana_panel(number, given, place):
    is_stat = given["kind"] == "stat"
    custom = {} if is_stat else {"lineWidth": 1, "fillOpacity": 20 if given["stack"] else 0, "stacking": {"mode": "normal" if given["stack"] else "none"}}
    if not is_stat and given["red_above"] is not None:
        custom["thresholdsStyle"] = {"mode": "line"}
    options = (
        {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "area"}
        if is_stat
        else {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}}
    )
    made = {
        "id": number,
        "type": given["kind"],
        "title": given["title"],
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": given["unit"], "custom": custom, "thresholds": thresholds(given)}, "overrides": []},
        "options": options,
        "targets": [
            {
                "refId": chr(ord("A") + at),
                "datasource": {"type": "prometheus", "uid": "${datasource}"},
                "expr": query.replace(", S}", f", {SELECTOR}}}").replace("{S}", f"{{{SELECTOR}}}"),
                "legendFormat": legend,
            }
            for at, (query, legend) in enumerate(given["queries"])
        ],
    }
    if given["about"]:
        made["description"] = given["about"]
    return made


def grafana_dashboard(uid, title, about, rows):
    panels, y = [], 0
    for heading, given in rows:
        panels.append({"id": len(panels) + 1, "type": "row", "title": heading, "collapsed": False, "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1}, "panels": []})
        y += 1
        is_stats = all(one["kind"] == "stat" for one in given)
        columns, height = (len(given), STAT_HEIGHT) if is_stats else (min(len(given), 2 if len(given) in (2, 4) else 3), ROW_HEIGHT)
        for at, one in enumerate(given):
            width = WIDTH // columns
            place = {"x": at % columns * width, "y": y + at // columns * height, "w": width, "h": height}
            panels.append(grafana_panel(len(panels) + 1, one, place))
        y += -(-len(given) // columns) * height
    variable = lambda name, metric: {
        "name": name,
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "query": f"label_values({metric}, {name})",
        "refresh": 2,
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
        "sort": 1,
    }
    return {
        "uid": f"flotilla-{uid}",
        "title": title,
        "description": about,
        "tags": ["flotilla"],
        "schemaVersion": 39,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "links": [{"type": "dashboards", "tags": ["flotilla"], "asDropdown": True, "title": "Flotilla", "includeVars": True, "keepTime": True}],
        "templating": {
            "list": [
                {"name": "datasource", "type": "datasource", "query": "prometheus", "current": {}},
                variable("namespace", "dm_build_info"),
                variable("job", "dm_build_info"),
            ]
        },
        "panels": panels,
    }


def main():
    stale = []
    for given in (OVERVIEW, CAMPAIGNS, SESSIONS, STORES):
        path = HERE / f"{given[0]}.json"
        text = json.dumps(grafana_dashboard(*given), indent=2) + "\n"
        if "--check" in sys.argv:
            if not path.exists() or path.read_text() != text:
                stale.append(path.name)
        else:
            HERE.mkdir(exist_ok=True)
            path.write_text(text)
    if stale:
        print(f"not what deploy/observability/dashboards.py writes: {', '.join(stale)}", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
