#!/usr/bin/env python3
"""Draws docs/pictures/dashboard.png: the panels of dashboards/tallyring.json with what a Prometheus has for them.

    docs/pictures/dashboard.py http://127.0.0.1:9090 SECONDS

This is no picture of Grafana: it asks a real Prometheus each panel's own queries, for the last SECONDS, and draws the
answers where the dashboard has the panels, with matplotlib (PyPI). Panels and rows of the dashboard, nothing else.
"""

import json
import math
import pathlib
import sys
import time
import urllib.parse
import urllib.request

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.ticker import FuncFormatter  # noqa: E402

HERE = pathlib.Path(__file__).parent
BACKGROUND, PANEL, TEXT, FAINT = "#111217", "#181b1f", "#ccccdc", "#34373e"
PALETTE = ["#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#f2495c", "#b877d9", "#8ab8ff", "#96d98d", "#ffcb7d", "#ff7383"]
UNIT_HEIGHT, WIDTH_INCHES = 0.36, 20


def ask(prometheus, path, **parameters):
    url = f"{prometheus}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)["data"]["result"]


def expression(query):
    return query.replace("$job", ".*").replace("$instance", ".*").replace("$__rate_interval", "10s")


def scaled(value, unit):
    if unit == "s" and 0 < abs(value) < 1:
        for factor, name in ((1e3, "ms"), (1e6, "µs"), (1e9, "ns")):
            if abs(value) * factor >= 1:
                return f"{value * factor:.3g} {name}"
    if unit in ("bytes", "Bps"):
        for factor, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
            if abs(value) >= factor:
                return f"{value / factor:.3g} {name}" + ("/s" if unit == "Bps" else "")
    if unit == "percentunit":
        return f"{value * 100:.3g}%"
    for factor, name in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= factor:
            return f"{value / factor:.3g}{name}"
    return f"{value:.3g}" + (" s" if unit == "s" else "")


def legend(target, labels):
    text = target["legendFormat"]
    for name, value in labels.items():
        text = text.replace("{{" + name + "}}", value)
    return "" if text == "__auto" else text


def series(prometheus, panel, seconds):
    now = time.time()
    for target in panel["targets"]:
        found = ask(prometheus, "query_range", query=expression(target["expr"]), start=now - seconds, end=now, step=1)
        for one in found:
            points = [(float(at) - now, float(value)) for at, value in one["values"]]
            yield legend(target, one["metric"]), one["metric"], [p for p in points if not math.isnan(p[1])]


def draw_stat(axes, prometheus, panel, unit):
    found = ask(prometheus, "query", query=expression(panel["targets"][0]["expr"]))
    value = float(found[0]["value"][1]) if found else math.nan
    axes.axis("off")
    axes.text(0.5, 0.42, scaled(value, unit), color=PALETTE[0], fontsize=26, ha="center", va="center", transform=axes.transAxes)


def draw_heatmap(axes, prometheus, panel, seconds):
    rows = sorted(series(prometheus, panel, seconds), key=lambda row: float(row[1]["le"]))
    times = sorted({at for _, _, points in rows for at, _ in points})
    before = dict.fromkeys(times, 0.0)
    grid = []
    for _, _, points in rows:
        values = dict(points)
        grid.append([max(values.get(at, 0.0) - before[at], 0.0) for at in times])
        before.update(values)
    axes.imshow([[math.log10(1 + v) for v in row] for row in grid], aspect="auto", origin="lower", cmap="Oranges_r",
                extent=(times[0], times[-1], 0, len(rows)), interpolation="nearest")
    axes.set_yticks([at + 1 for at in range(0, len(rows), 3)], [f"{scaled(float(rows[at][1]['le']), 's')}" for at in range(0, len(rows), 3)])


def draw_lines(axes, prometheus, panel, unit, seconds):
    for at, (name, _, points) in enumerate(series(prometheus, panel, seconds)):
        colour = PALETTE[at % len(PALETTE)]
        axes.plot([p[0] for p in points], [p[1] for p in points], color=colour, linewidth=1.2, label=name or None)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: scaled(value, unit)))
    axes.grid(color=FAINT, linewidth=0.5)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="upper left", fontsize=6.5, frameon=False, labelcolor=TEXT, ncols=3)


def main():
    prometheus, seconds = sys.argv[1].rstrip("/"), int(sys.argv[2])
    panels = json.loads((HERE / "../../dashboards/tallyring.json").read_text())["panels"]
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    figure = plt.figure(figsize=(WIDTH_INCHES, height * UNIT_HEIGHT), facecolor=BACKGROUND)
    for panel in panels:
        place = panel["gridPos"]
        left, bottom = place["x"] / 24, 1 - (place["y"] + place["h"]) / height
        if panel["type"] == "row":
            figure.text(left + 0.004, bottom + 0.25 / height, panel["title"], color=TEXT, fontsize=12, weight="bold")
            continue
        pad_x, pad_y = 0.85 / 24, 1.1 / height
        axes = figure.add_axes((left + pad_x, bottom + pad_y, place["w"] / 24 - 1.15 * pad_x, place["h"] / height - 2.1 * pad_y))
        axes.set_facecolor(PANEL)
        axes.set_title(panel["title"], color=TEXT, fontsize=9, loc="left", weight="bold")
        axes.tick_params(colors=TEXT, labelsize=7)
        for spine in axes.spines.values():
            spine.set_color(FAINT)
        unit = panel["fieldConfig"]["defaults"]["unit"]
        match panel["type"]:
            case "stat":
                draw_stat(axes, prometheus, panel, unit)
            case "heatmap":
                draw_heatmap(axes, prometheus, panel, seconds)
            case _:
                draw_lines(axes, prometheus, panel, unit, seconds)
    figure.savefig(HERE / "dashboard.png", dpi=62, facecolor=BACKGROUND)


main()
