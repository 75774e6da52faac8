"""The Grafana dashboard, as Grafana imports it, from the list of its panels."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from k8s.panels import ROWS, VARIABLES, Panel

Object = dict[str, Any]

_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_WIDTH = 24
_HEIGHT = 8


def dashboard() -> str:
    """The dashboard as Grafana imports it."""
    source = {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "current": {},
    }
    made = {
        "id": None,
        "uid": "interlock",
        "title": "Interlock",
        "description": "What agents call, what is refused and why, and what it costs.",
        "tags": ["interlock", "mcp"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "",
        "annotations": {"list": []},
        "links": [],
        "templating": {"list": [source, *(_variable(*one) for one in VARIABLES)]},
        "panels": list(_panels(ROWS)),
    }
    return json.dumps(made, indent=1) + "\n"


def _variable(name: str, query: str) -> Object:
    return {
        "name": name,
        "label": name.capitalize(),
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": query, "refId": name},
        "definition": query,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "refresh": 2,
        "sort": 1,
    }


def _panels(rows: Iterable[tuple[str, tuple[Panel, ...]]]) -> Iterator[Object]:
    """Rows and panels, each on its place, numbered."""
    number, y = 0, 0
    for title, panels in rows:
        number += 1
        place = {"x": 0, "y": y, "w": _WIDTH, "h": 1}
        yield {
            "id": number,
            "type": "row",
            "title": title,
            "gridPos": place,
            "collapsed": False,
            "panels": [],
        }
        y, x, height = y + 1, 0, 0
        for panel in panels:
            number += 1
            if x + panel.width > _WIDTH:
                x, y = 0, y + height
            height = 4 if panel.kind == "stat" else _HEIGHT
            yield _panel(panel, number, {"x": x, "y": y, "w": panel.width, "h": height})
            x += panel.width
        y += height


def _panel(panel: Panel, number: int, place: Object) -> Object:
    steps: list[Object] = [{"color": "green", "value": None}]
    if panel.thresholds:
        yellow, red = panel.thresholds
        steps += [{"color": "yellow", "value": yellow}, {"color": "red", "value": red}]
    table = panel.kind == "table"
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.text,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0,
                "thresholds": {"mode": "absolute", "steps": steps},
                **({} if panel.thresholds or table else {"color": {"mode": "palette-classic"}}),
            },
            "overrides": [],
        },
        "options": _OPTIONS[panel.kind],
        "targets": [
            {
                "refId": "ABCDEFGH"[index],
                "datasource": _SOURCE,
                "expr": query,
                "legendFormat": legend,
                "instant": table,
                "range": not table,
                **({"format": "table"} if table else {}),
            }
            for index, (query, legend) in enumerate(panel.queries)
        ],
        **({"transformations": [_WITHOUT_TIME]} if table else {}),
    }


_WITHOUT_TIME = {"id": "organize", "options": {"excludeByName": {"Time": True, "__name__": True}}}
_OPTIONS: dict[str, Object] = {
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "value",
        "graphMode": "area",
    },
    "table": {"showHeader": True},
}
