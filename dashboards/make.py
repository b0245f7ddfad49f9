#!/usr/bin/env python3
"""Writes dashboards/tallyring.json, the Grafana dashboard: python3 dashboards/make.py

A panel is a title, a unit and its queries; where each stands follows from the order. Edit here, not there.
"""

import json
import pathlib

JOB = 'job=~"$job",instance=~"$instance"'


def rate(metric, labels="", by=""):
    labels = f"{JOB},{labels}" if labels else JOB
    by = f" by ({by})" if by else ""
    return f"sum{by} (rate({metric}{{{labels}}}[$__rate_interval]))"


def gauge(metric, by="", labels=""):
    labels = f"{JOB},{labels}" if labels else JOB
    by = f" by ({by})" if by else ""
    return f"sum{by} ({metric}{{{labels}}})"


def quantile(q, metric, by, labels=""):
    return f"histogram_quantile({q}, {rate(metric + '_bucket', labels, f'le, {by}')})"


def quantiles(metric, by, labels=""):
    return [(quantile(q, metric, by, labels), f"{{{{{by}}}}} p{name}") for q, name in ((0.5, "50"), (0.99, "99"), (0.999, "99.9"))]


CPU = " - ".join(rate(f"tallyring_shard_{which}_seconds_total", by="instance, shard") for which in ("cpu", "polled"))
COMMANDS = rate("tallyring_shard_commands_total", by="instance, shard")
STAGE = "tallyring_stage_duration_seconds"

# Rows of panels: title, unit, width of 24, queries with their legends, kind.
ROWS = [
    ("At a glance", [
        ("Operations", "ops", 6, [(rate("tallyring_commands_total"), "")], "stat"),
        ("p99, whole", "s", 6, [(quantile(0.99, STAGE, "stage", 'stage="whole"'), "")], "stat"),
        ("Clients", "short", 4, [(gauge("tallyring_clients"), "")], "stat"),
        ("Counters", "short", 4, [(gauge("tallyring_keys"), "")], "stat"),
        ("Up for", "s", 4, [(f"min (tallyring_uptime_seconds{{{JOB}}})", "")], "stat"),
    ]),
    ("Operations and latency", [
        ("Operations by command", "ops", 12, [(f"topk(10, {rate('tallyring_commands_total', by='command')})", "{{command}}")], "timeseries"),
        ("Latency by stage", "s", 12, quantiles(STAGE, "stage", 'stage!="whole"'), "timeseries"),
        ("Whole latency", "s", 12, quantiles(STAGE, "stage", 'stage="whole"'), "timeseries"),
        ("p99 by command", "s", 12, [(quantile(0.99, "tallyring_command_duration_seconds", "command"), "{{command}}")], "timeseries"),
        ("How long commands take", "short", 24, [(rate(f"{STAGE}_bucket", 'stage="whole"', "le"), "{{le}}")], "heatmap"),
    ]),
    ("Errors", [
        ("Error replies", "ops", 8, [(rate("tallyring_error_replies_total", by="code"), "{{code}}")], "timeseries"),
        ("Failed and rejected commands", "ops", 8, [
            (rate("tallyring_commands_failed_total"), "failed"), (rate("tallyring_commands_rejected_total"), "rejected")], "timeseries"),
        ("Clients evicted and turned away", "ops", 8, [
            (rate("tallyring_clients_evicted_total", by="reason"), "evicted: {{reason}}"),
            (rate("tallyring_connections_rejected_total", by="reason"), "turned away: {{reason}}")], "timeseries"),
    ]),
    ("Shards", [
        ("Load of each core", "percentunit", 8, [(CPU, "{{instance}} shard {{shard}}")], "timeseries"),
        ("Commands by shard", "ops", 8, [(COMMANDS, "{{instance}} shard {{shard}}")], "timeseries"),
        ("Skew: the busiest against the mean", "none", 8, [(f"max by (instance) ({COMMANDS}) / avg by (instance) ({COMMANDS})", "{{instance}}")], "timeseries"),
        ("Counters by shard", "short", 8, [(gauge("tallyring_keys", "instance, shard"), "{{instance}} shard {{shard}}")], "timeseries"),
        ("Mesh: batches to other shards", "ops", 8, [(rate("tallyring_mesh_batches_total", by="instance, shard"), "{{instance}} shard {{shard}}")], "timeseries"),
        ("Expired", "ops", 8, [(rate("tallyring_expired_keys_total", by="instance, shard"), "{{instance}} shard {{shard}}")], "timeseries"),
    ]),
    ("Memory", [
        ("Resident, and at most", "bytes", 8, [
            (gauge("process_resident_memory_bytes"), "resident"), (gauge("tallyring_memory_ceiling_bytes"), "ceiling")], "timeseries"),
        ("Counters, and maxmemory", "bytes", 8, [
            (gauge("tallyring_keyspace_bytes"), "counters"), (gauge("tallyring_maxmemory_bytes"), "maxmemory")], "timeseries"),
        ("What is reserved", "bytes", 8, [(gauge("tallyring_memory_reserved_bytes", "part"), "{{part}}")], "timeseries"),
    ]),
    ("Durability", [
        ("Changes not on the disk: since when", "s", 8, [(gauge("tallyring_journal_unsynced_seconds", "instance, shard"), "{{instance}} shard {{shard}}")], "timeseries"),
        ("Changes not on the disk: bytes", "bytes", 8, [(gauge("tallyring_journal_unsynced_bytes", "instance, shard"), "{{instance}} shard {{shard}}")], "timeseries"),
        ("What a sync takes", "s", 8, [
            (f"{rate('tallyring_journal_sync_seconds_total', by='instance')} / {rate('tallyring_journal_syncs_total', by='instance')}", "{{instance}} mean"),
            (f"max by (instance) (tallyring_journal_last_sync_seconds{{{JOB}}})", "{{instance}} the last one")], "timeseries"),
        ("Journal and snapshot", "bytes", 8, [
            (gauge("tallyring_journal_bytes", "instance"), "{{instance}} journal"), (gauge("tallyring_snapshot_bytes", "instance"), "{{instance}} snapshot")], "timeseries"),
        ("Age of the last snapshot", "s", 8, [(f"time() - max by (instance) (tallyring_snapshot_last_timestamp_seconds{{{JOB}}})", "{{instance}}")], "timeseries"),
        ("Trouble: the journal fails, the last snapshot failed", "none", 8, [
            (gauge("tallyring_journal_failing", "instance"), "{{instance}} journal"), (gauge("tallyring_snapshot_last_failed", "instance"), "{{instance}} snapshot"),
            (rate("tallyring_journal_delayed_syncs_total", by="instance"), "{{instance}} syncs of a second or longer")], "timeseries"),
    ]),
    ("Clients", [
        ("Connections", "short", 6, [
            (gauge("tallyring_clients", "instance, shard"), "{{instance}} shard {{shard}}"), (gauge("tallyring_clients_max"), "maxclients")], "timeseries"),
        ("Stalled clients, and what they left over", "short", 6, [
            (gauge("tallyring_stalled_clients"), "clients"), (gauge("tallyring_parked_bytes"), "bytes parked")], "timeseries"),
        ("Fixed buffers", "short", 6, [
            (gauge("tallyring_buffers_lent"), "lent"), (gauge("tallyring_buffers"), "all"),
            (rate("tallyring_buffers_recalled_total"), "recalled a second")], "timeseries"),
        ("Network", "Bps", 6, [
            (rate("tallyring_received_bytes_total"), "received"), (rate("tallyring_sent_bytes_total"), "sent")], "timeseries"),
        ("New connections", "ops", 6, [(rate("tallyring_connections_total"), "accepted")], "timeseries"),
        ("Reads that found their counter", "percentunit", 6, [
            (f"{rate('tallyring_keyspace_hits_total')} / ({rate('tallyring_keyspace_hits_total')} + {rate('tallyring_keyspace_misses_total')})", "hits")], "timeseries"),
        ("Bytes that transactions have queued", "bytes", 6, [(gauge("tallyring_transaction_queue_bytes"), "queued")], "timeseries"),
        ("Descriptors", "short", 6, [
            (gauge("process_open_fds"), "open"), (gauge("process_max_fds"), "at most")], "timeseries"),
    ]),
]

SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def panel(number, x, y, title, unit, width, queries, kind):
    height = 4 if kind == "stat" else 8
    made = {
        "id": number,
        "type": kind,
        "title": title,
        "datasource": SOURCE,
        "gridPos": {"x": x, "y": y, "w": width, "h": height},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + at), "datasource": SOURCE, "expr": query, "legendFormat": legend or "__auto"}
            for at, (query, legend) in enumerate(queries)
        ],
    }
    if kind == "heatmap":
        made["targets"][0]["format"] = "heatmap"
        made["options"] = {"calculate": False, "yAxis": {"unit": "s"}, "color": {"scheme": "Oranges", "mode": "scheme"}}
    return made


def dashboard():
    panels, y = [], 0
    for title, row in ROWS:
        panels.append({"id": len(panels) + 1, "type": "row", "title": title, "collapsed": False, "panels": [],
                       "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}})
        y += 1
        x = 0
        for spec in row:
            width = spec[2]
            if x + width > 24:
                x, y = 0, y + panels[-1]["gridPos"]["h"]
            panels.append(panel(len(panels) + 1, x, y, *spec))
            x += width
        y += panels[-1]["gridPos"]["h"]
    variable = {"type": "query", "datasource": SOURCE, "refresh": 2, "includeAll": True, "multi": True,
                "current": {"text": "All", "value": "$__all"}}
    return {
        "title": "Tallyring",
        "uid": "tallyring",
        "tags": ["tallyring"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "5s",
        "time": {"from": "now-30m", "to": "now"},
        "templating": {"list": [
            {"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus"},
            {**variable, "name": "job", "label": "Job", "query": "label_values(tallyring_build_info, job)",
             "definition": "label_values(tallyring_build_info, job)"},
            {**variable, "name": "instance", "label": "Instance",
             "query": 'label_values(tallyring_build_info{job=~"$job"}, instance)',
             "definition": 'label_values(tallyring_build_info{job=~"$job"}, instance)'},
        ]},
        "annotations": {"list": []},
        "panels": panels,
    }


if __name__ == "__main__":
    path = pathlib.Path(__file__).with_name("tallyring.json")
    path.write_text(json.dumps(dashboard(), indent=2) + "\n")
