"""What the Grafana dashboard shows: its rows, panels and variables.

Every query has the data source, the refresh and the filters that the user chose, by variables: a
dashboard with a source of its own works for nobody else.
"""

from __future__ import annotations

from dataclasses import dataclass

# What every series has, and what those of a server have beside it.
_POD = 'job=~"$job", namespace=~"$namespace", pod=~"$pod"'
_SERVER = f'{_POD}, server=~"$server"'
_GRANT = f'{_SERVER}, grant=~"$grant"'
_RATE = "[$__rate_interval]"


@dataclass(frozen=True)
class Panel:
    """One panel.

    Attributes:
        title: what it shows.
        text: what to make of it.
        unit: of its values, in Grafana's terms.
        queries: PromQL and the legend of each.
        kind: `timeseries`, `stat` or `table`.
        width: of 24 columns.
        thresholds: from which value on it is yellow, and red.
    """

    title: str
    text: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    kind: str = "timeseries"
    width: int = 8
    thresholds: tuple[float, float] | None = None


def _quantile(share: float, metric: str, where: str, by: str = "le") -> str:
    return f"histogram_quantile({share}, sum by ({by}) (rate({metric}_bucket{{{where}}}{_RATE})))"


def _spent(phase: str, what: str = "sum") -> str:
    return f"rate(interlock_{phase}_duration_seconds_{what}{{{_SERVER}}}{_RATE})"


def _mean(phase: str) -> str:
    return f"sum by (server) ({_spent(phase)}) / sum by (server) ({_spent(phase, 'count')})"


def _slots(state: str) -> str:
    return f'interlock_limit_slots{{{_POD}, state="{state}"}}'


_DECISIONS = f"rate(interlock_decisions_total{{{_GRANT}}}{_RATE})"
_DENIED = f'rate(interlock_decisions_total{{{_GRANT}, effect="deny"}}{_RATE})'

ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    (
        "Now",
        (
            Panel(
                *("Sidecars", "How many are scraped, and answer.", "short"),
                ((f"sum(up{{{_POD}}})", "up"),),
                kind="stat",
                width=4,
            ),
            Panel(
                *("Decisions", "Messages decided, of all methods.", "reqps"),
                ((f"sum({_DECISIONS})", "decisions"),),
                kind="stat",
                width=4,
            ),
            Panel(
                *("Refused", "The share that was refused.", "percentunit"),
                ((f"sum({_DENIED}) / sum({_DECISIONS})", "refused"),),
                kind="stat",
                width=4,
                thresholds=(0.2, 0.5),
            ),
            Panel(
                "Added, mean",
                "What a call takes more than its server does: reading, deciding, passing on.",
                "s",
                (
                    (
                        f"(sum({_spent('request')}) - sum({_spent('upstream')}))"
                        f" / sum({_spent('request', 'count')})",
                        "added",
                    ),
                ),
                kind="stat",
                width=4,
                thresholds=(0.005, 0.02),
            ),
            Panel(
                "Fullest limit",
                "The largest share of a limit that is used. At 1 it refuses.",
                "percentunit",
                ((f"max(interlock_limit_usage_ratio{{{_GRANT}}})", "used"),),
                kind="stat",
                width=4,
                thresholds=(0.8, 1),
            ),
            Panel(
                "Failed reloads",
                "Changed files that could not be used in the last hour; the last good ones stay.",
                "short",
                (
                    (
                        f"sum(increase(interlock_reload_failures_total{{{_POD}}}[1h]))",
                        "failed",
                    ),
                ),
                kind="stat",
                width=4,
                thresholds=(0.5, 3),
            ),
        ),
    ),
    (
        "Traffic and refusals",
        (
            Panel(
                *("Decisions by code", "What was decided, and why.", "reqps"),
                ((f"sum by (effect, code) ({_DECISIONS})", "{{effect}} {{code}}"),),
            ),
            Panel(
                "Calls by tool",
                "The busiest tools. `other` is what no policy names; no label is a message that is "
                "no tool call.",
                "reqps",
                ((f"topk(10, sum by (tool) ({_DECISIONS}))", "{{tool}}"),),
            ),
            Panel(
                "Refusals by tool",
                "A tool that is refused much is one that an agent wants and the policy does not.",
                "reqps",
                ((f"topk(10, sum by (tool, code) ({_DENIED}))", "{{tool}} {{code}}"),),
            ),
            Panel(
                "Refusals by grant",
                "Who is refused, and why.",
                "reqps",
                ((f"sum by (grant, code) ({_DENIED})", "{{grant}} {{code}}"),),
            ),
            Panel(
                "Shadow refusals",
                "What rules in shadow mode would have refused. Nothing here is a rule that can be "
                "enforced.",
                "reqps",
                (
                    (
                        "sum by (server, rule) "
                        f"(rate(interlock_shadow_denials_total{{{_SERVER}}}{_RATE}))",
                        "{{server}} {{rule}}",
                    ),
                ),
            ),
            Panel(
                "Refusals in the last hour",
                "By tool, grant and code, the most first.",
                "short",
                (
                    (
                        "sort_desc(sum by (tool, grant, code) (increase(interlock_decisions_total"
                        f'{{{_GRANT}, effect="deny"}}[1h])))',
                        "",
                    ),
                ),
                kind="table",
            ),
        ),
    ),
    (
        "Limits",
        (
            Panel(
                "Limits near exhaustion",
                "The fullest limits. At 1 they refuse.",
                "percentunit",
                (
                    (
                        "topk(10, max by (server, grant, counter) "
                        f"(interlock_limit_usage_ratio{{{_GRANT}}}))",
                        "{{server}} {{grant}} {{counter}}",
                    ),
                ),
                width=12,
                thresholds=(0.8, 1),
            ),
            Panel(
                "Places of the limit table",
                "When none is free, calls that need a new one are refused with `table-full`.",
                "percentunit",
                (
                    (
                        f"max by (pod) ({_slots('used')} / ignoring(state)"
                        f" ({_slots('used')} + ignoring(state) {_slots('free')}))",
                        "{{pod}}",
                    ),
                ),
                width=12,
                thresholds=(0.8, 0.95),
            ),
        ),
    ),
    (
        "Latency",
        (
            Panel(
                "A call and its server, mean",
                "The distance between the two is what Interlock adds.",
                "s",
                ((_mean("request"), "{{server}} call"), (_mean("upstream"), "{{server}} server")),
            ),
            Panel(
                "A call, by quantile",
                "From all of the request to the end of the answer; and the server's part, at 99 %.",
                "s",
                (
                    (_quantile(0.5, "interlock_request_duration_seconds", _SERVER), "half"),
                    (_quantile(0.95, "interlock_request_duration_seconds", _SERVER), "95 %"),
                    (_quantile(0.99, "interlock_request_duration_seconds", _SERVER), "99 %"),
                    (_quantile(0.99, "interlock_upstream_duration_seconds", _SERVER), "server"),
                ),
            ),
            Panel(
                "A decision, by quantile",
                "Without the network. Over a millisecond something holds the process up.",
                "s",
                (
                    (_quantile(0.5, "interlock_decide_duration_seconds", _POD), "half"),
                    (_quantile(0.99, "interlock_decide_duration_seconds", _POD), "99 %"),
                ),
            ),
        ),
    ),
    (
        "Errors and saturation",
        (
            Panel(
                "Faults of servers",
                "Requests that a server could not be asked, or did not answer as it should.",
                "reqps",
                (
                    (
                        "sum by (server, reason) "
                        f"(rate(interlock_upstream_errors_total{{{_SERVER}}}{_RATE}))",
                        "{{server}} {{reason}}",
                    ),
                ),
            ),
            Panel(
                *("In flight", "Requests that wait for a server.", "short"),
                (
                    (
                        f"sum by (server) (interlock_requests_in_flight{{{_SERVER}}})",
                        "{{server}}",
                    ),
                ),
            ),
            Panel(
                *("Sessions", "Sessions that are open.", "short"),
                ((f"sum by (server) (interlock_sessions{{{_SERVER}}})", "{{server}}"),),
            ),
            Panel(
                "Lines that the decision log left out",
                "Anything here is a decision that nobody can look up.",
                "cps",
                (
                    (
                        "sum by (pod) "
                        f"(rate(interlock_decision_log_dropped_total{{{_POD}}}{_RATE}))",
                        "{{pod}}",
                    ),
                ),
                thresholds=(0.001, 1),
            ),
            Panel(
                "Waiting for a person",
                "Calls that somebody must approve or deny: `interlock approvals list`.",
                "short",
                ((f"max by (pod) (interlock_approvals_pending{{{_POD}}})", "{{pod}}"),),
            ),
            Panel(
                "Approvals",
                "What became of requests: asked, used by a call, denied, expired.",
                "cps",
                (
                    (
                        f"sum by (outcome) (rate(interlock_approvals_total{{{_POD}}}{_RATE}))",
                        "{{outcome}}",
                    ),
                ),
            ),
            Panel(
                "CPU",
                "Of one core. A process serves one core's worth of calls.",
                "percentunit",
                ((f"sum by (pod) (rate(process_cpu_seconds_total{{{_POD}}}{_RATE}))", "{{pod}}"),),
                thresholds=(0.7, 0.9),
            ),
            Panel(
                "Memory",
                "Resident. Virtual memory is more, and means nothing here.",
                "bytes",
                ((f"sum by (pod) (process_resident_memory_bytes{{{_POD}}})", "{{pod}}"),),
            ),
            Panel(
                "File descriptors",
                "The share of those that it may open.",
                "percentunit",
                (
                    (
                        f"max by (pod) (process_open_fds{{{_POD}}} / process_max_fds{{{_POD}}})",
                        "{{pod}}",
                    ),
                ),
                thresholds=(0.7, 0.9),
            ),
        ),
    ),
    (
        "Policies",
        (
            Panel(
                "Reloads",
                "A failed one leaves the last good policy in force.",
                "short",
                (
                    (
                        "sum by (result) (increase(interlock_policy_reloads_total"
                        f"{{{_POD}}}{_RATE}))",
                        "{{result}}",
                    ),
                ),
            ),
            Panel(
                "Policies in force",
                "With their digests. Sidecars of one workload should have the same.",
                "short",
                (
                    (
                        "count by (namespace, server, policy, digest) "
                        f"(interlock_policy_info{{{_SERVER}}})",
                        "",
                    ),
                ),
                kind="table",
            ),
            Panel(
                "Since the last policy",
                "How long ago one came into force.",
                "s",
                (
                    (
                        "time() - max by (pod) "
                        f"(interlock_policy_last_reload_timestamp_seconds{{{_POD}}})",
                        "{{pod}}",
                    ),
                ),
            ),
            Panel(
                "Tools that are not as they are pinned",
                "A server changed what its tools say or take: they are hidden and refused.",
                "cps",
                (
                    (
                        "sum by (server) "
                        f"(rate(interlock_unpinned_tools_total{{{_SERVER}}}{_RATE}))",
                        "{{server}}",
                    ),
                ),
                thresholds=(0.001, 1),
            ),
            Panel(
                "Versions",
                "What runs, and since when.",
                "s",
                (
                    (
                        f"(time() - process_start_time_seconds{{{_POD}}}) * on (job, instance) "
                        f"group_right interlock_build_info{{{_POD}}}",
                        "",
                    ),
                ),
                kind="table",
                width=16,
            ),
        ),
    ),
)

VARIABLES = (
    ("job", "label_values(interlock_build_info, job)"),
    ("namespace", 'label_values(interlock_build_info{job=~"$job"}, namespace)'),
    ("pod", 'label_values(interlock_build_info{job=~"$job", namespace=~"$namespace"}, pod)'),
    ("server", f"label_values(interlock_policy_info{{{_POD}}}, server)"),
    ("grant", f"label_values(interlock_decisions_total{{{_SERVER}}}, grant)"),
)
