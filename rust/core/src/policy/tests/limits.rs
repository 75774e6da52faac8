//! Limits as written, and the quotas they become.

use super::{codes, load, load_tool, only_limit, refuse};
use crate::limit::{Algorithm, Window};
use crate::policy::condition::ArgPath;
use crate::policy::{Cost, Scope};

const SECOND: u64 = 1_000_000_000;

#[test]
fn a_limit_and_its_defaults() {
    let policy = load_tool("{limits: [{counter: c, max: 30, window: minute, on_deny: slow down}]}");
    let (limit, quota) = only_limit(&policy);
    assert_eq!(
        (limit.pointer.as_str(), limit.max),
        ("/tools/x/limits/0", 30)
    );
    assert_eq!(limit.on_deny.as_deref(), Some("slow down"));
    assert_eq!(
        (quota.counter.as_str(), quota.scope, quota.scale),
        ("c", Scope::Grant, 0)
    );
    assert_eq!(
        quota.counting.algorithm(),
        Algorithm::Fixed(Window::Span(60 * SECOND))
    );
    assert_eq!(quota.window_text, "minute");
    assert!(matches!(quota.cost, Cost::Units(1)) && quota.key.is_none());
}

#[test]
fn windows() {
    for (text, window) in [
        ("second", Window::Span(SECOND)),
        ("minute", Window::Span(60 * SECOND)),
        ("hour", Window::Span(3_600 * SECOND)),
        ("day", Window::Span(86_400 * SECOND)),
        ("week", Window::Span(604_800 * SECOND)),
        ("month", Window::Month),
        ("90s", Window::Span(90 * SECOND)),
        ("5m", Window::Span(300 * SECOND)),
        ("12h", Window::Span(43_200 * SECOND)),
        ("2w", Window::Span(1_209_600 * SECOND)),
        ("366d", Window::Span(31_622_400 * SECOND)),
    ] {
        let policy = load_tool(&format!(
            "{{limits: [{{counter: c, max: 1, window: {text}}}]}}"
        ));
        let quota = only_limit(&policy).1;
        assert_eq!(
            (quota.counting.algorithm(), quota.window_text.as_str()),
            (Algorithm::Fixed(window), text)
        );
    }
    for text in [
        "",
        "s",
        "m",
        "0s",
        "367d",
        "1y",
        "01s",
        "+1s",
        "1.5h",
        "90 s",
        "90S",
        "1ms",
        "60",
        "99999999999999999999s",
    ] {
        let problems = refuse(&format!(
            "default: deny\ntools: {{x: {{limits: [{{counter: c, max: 1, window: '{text}'}}]}}}}"
        ));
        assert_eq!(codes(&problems), ["bad-window"], "{text}");
    }
}

#[test]
fn algorithms() {
    let algorithm = |limit: &str| {
        let policy = load_tool(&format!("{{limits: [{{counter: c, {limit}}}]}}"));
        only_limit(&policy).1.counting.algorithm()
    };
    assert_eq!(
        algorithm("max: 9, window: day, algorithm: sliding_window"),
        Algorithm::Sliding(86_400 * SECOND)
    );
    assert_eq!(
        algorithm("max: 9, algorithm: concurrency"),
        Algorithm::Concurrency
    );
    let bucket =
        |limit: &str| match algorithm(&format!("algorithm: token_bucket, window: minute, {limit}"))
        {
            Algorithm::Bucket {
                window_ns,
                interval_ns,
                burst,
            } => (window_ns / SECOND, interval_ns, burst),
            other => panic!("{other:?}"),
        };
    assert_eq!(bucket("max: 30"), (60, (60 * SECOND).div_ceil(16), 15));
    assert_eq!(
        bucket("max: 30, burst: 5"),
        (60, (60 * SECOND).div_ceil(26), 5)
    );
    assert_eq!(bucket("max: 30, burst: 30"), (60, 60 * SECOND, 30));
    assert_eq!(bucket("max: 1"), (60, 60 * SECOND, 1));
    // Counted in tenths: 30 of them in all, 15 at once.
    let tenths = (60, (60 * SECOND).div_ceil(16), 15);
    assert_eq!(bucket("max: 3, burst: 1.5, cost: 0.5"), tenths);
}

/// However calls are spread, a full burst and what comes back within any window stay within max.
#[test]
fn a_bucket_admits_no_more_than_max_in_a_window() {
    for max in 1..40u64 {
        for burst in 1..=max {
            let policy = load_tool(&format!(
                "{{limits: [{{counter: c, max: {max}, burst: {burst}, algorithm: token_bucket, window: 7s}}]}}"
            ));
            let Algorithm::Bucket {
                window_ns,
                interval_ns,
                burst,
            } = only_limit(&policy).1.counting.algorithm()
            else {
                panic!("a bucket");
            };
            let regained = (window_ns - 1) / interval_ns;
            assert!(burst + regained <= max, "{max} {burst}");
            // And no fewer than that, or the bucket would be needlessly slow.
            assert!(
                burst + (window_ns - 1) / (interval_ns - 1) >= max,
                "{max} {burst}"
            );
        }
    }
}

#[test]
fn scopes_and_keys() {
    for (text, scope) in [
        ("grant", Scope::Grant),
        ("session", Scope::Session),
        ("server", Scope::Server),
        ("global", Scope::Global),
    ] {
        let policy = load_tool(&format!(
            "{{limits: [{{counter: c, max: 1, window: day, scope: {text}, key: 'args.a[0].b'}}]}}"
        ));
        let quota = only_limit(&policy).1;
        assert_eq!(quota.scope, scope);
        assert_eq!(quota.key.as_ref().map(ArgPath::as_str), Some("args.a[0].b"));
    }
}

#[test]
fn costs_and_scales() {
    let compile = |limit: &str| {
        let policy = load_tool(&format!(
            "{{limits: [{{counter: c, window: minute, {limit}}}]}}"
        ));
        let (limit, quota) = only_limit(&policy);
        let cost = match &quota.cost {
            Cost::Units(units) => units.to_string(),
            Cost::Arg(path) => path.to_string(),
        };
        (limit.max, quota.scale, cost)
    };
    let text = str::to_owned;
    assert_eq!(compile("max: 10, cost: 2"), (10, 0, text("2")));
    assert_eq!(compile("max: 10, cost: 0.25"), (1_000, 2, text("25")));
    assert_eq!(compile("max: 10.999, cost: 0.25"), (1_099, 2, text("25")));
    assert_eq!(compile("max: 2.5"), (2, 0, text("1")));
    assert_eq!(
        compile("max: 10, cost: args.n"),
        (100_000, 4, text("args.n"))
    );
    assert_eq!(
        compile("max: 10, increment_from: args.n"),
        (100_000, 4, text("args.n"))
    );
    assert_eq!(compile("max: 10, increment_from: 3"), (10, 0, text("3")));
    // 33 bits of count for a minute: four decimals leave room up to 858,993, two up to 85,899,345.
    assert_eq!(
        compile("max: 858993, cost: args.n"),
        (8_589_930_000, 4, text("args.n"))
    );
    assert_eq!(
        compile("max: 858994, cost: args.n"),
        (85_899_400, 2, text("args.n"))
    );
    assert_eq!(
        compile("max: 85899346, cost: args.n"),
        (85_899_346, 0, text("args.n"))
    );
    assert_eq!(
        compile("max: 1.23456, cost: args.n, scale: 1"),
        (12, 1, text("args.n"))
    );
    assert_eq!(
        compile("max: 1.23456, cost: args.n, scale: 0"),
        (1, 0, text("args.n"))
    );
}

#[test]
fn one_quota_in_several_places() {
    let policy = load(
        "default: deny\n\
         all_tools: {limits: [{counter: c, max: 900000, window: minute, cost: args.n}]}\n\
         tools:\n  x: {limits: [{counter: c, max: 10, window: 60s, cost: args.n}]}\n\
         \x20 y: {limits: [{counter: c, max: 10, window: hour, cost: args.n}]}\n",
    );
    assert_eq!(policy.quotas().len(), 2, "60 s is a minute, an hour is not");
    let all = policy
        .all_tools()
        .expect("all_tools")
        .limits
        .first()
        .expect("a limit");
    let (x, quota) = only_limit(&policy);
    assert_eq!(x.quota, all.quota);
    assert_eq!(
        (all.max, x.max, quota.scale),
        (90_000_000, 1_000, 2),
        "one scale, that of the largest"
    );
    assert_eq!(quota.label, x.quota.0);
    assert_eq!(codes(policy.warnings()), ["different-max"]);
}

#[test]
fn what_a_count_means_is_its_identity() {
    let identity = |limit: &str| {
        let policy = load_tool(&format!("{{limits: [{{counter: c, max: 5, {limit}}}]}}"));
        only_limit(&policy).1.identity
    };
    let base = identity("window: minute");
    for same in [
        "window: 60s",
        "window: 1m, on_deny: no, mode: shadow, description: d, scope: grant, algorithm: fixed_window",
        "window: minute, cost: 2",
    ] {
        assert_eq!(identity(same), base, "{same}");
    }
    let others = [
        "window: 61s",
        "window: month",
        "window: minute, scope: global",
        "window: minute, key: args.a",
        "window: minute, cost: 0.5",
        "window: minute, algorithm: sliding_window",
        "window: minute, algorithm: token_bucket",
        "algorithm: concurrency",
    ];
    let mut seen = vec![base];
    for other in others {
        let other = identity(other);
        assert!(!seen.contains(&other));
        seen.push(other);
    }
    let with_max = load_tool("{limits: [{counter: c, max: 6, window: minute}]}");
    assert_eq!(
        seen.first(),
        Some(&only_limit(&with_max).1.identity),
        "max is no part of it"
    );
}

#[test]
fn the_short_form_of_a_limit() {
    for rate in ["{max: 10, window: 60}", "10/minute", "10/60s"] {
        let policy = load_tool(&format!("{{rate_limit: {rate}}}"));
        let (limit, quota) = only_limit(&policy);
        assert_eq!(
            (limit.pointer.as_str(), limit.max),
            ("/tools/x/rate_limit", 10)
        );
        assert_eq!(
            (quota.counter.as_str(), quota.scope),
            ("x_rate_limit", Scope::Session)
        );
        assert_eq!(
            quota.counting.algorithm(),
            Algorithm::Fixed(Window::Span(60 * SECOND))
        );
        assert_eq!(codes(policy.warnings()), ["session-scope"]);
    }
    let policy = load(
        "default: deny\ntools: {'up_*': {rate_limit: 1/month, limits: [{counter: c, max: 1, window: day}]}}",
    );
    let counters: Vec<&str> = policy
        .quotas()
        .iter()
        .map(|quota| quota.counter.as_str())
        .collect();
    assert_eq!(counters, ["c", "up_*_rate_limit"]);
}
