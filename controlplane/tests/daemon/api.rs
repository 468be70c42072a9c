//! What the API answers to requests that are wrong in some way: always an RFC 9457 problem.

use causeway_shared::api::{Cleared, Counters, InactiveSessionList, PortList, Problem, ReconnectStats};

use crate::gateway::Gateway;
use crate::http;

#[test]
fn every_error_is_a_problem_with_its_kind_and_remedy() {
    let gateway = Gateway::start("problems", "");
    let large = format!(r#"{{"what":"{}"}}"#, "x".repeat(20_000));
    let rekey = "/v1/sessions/7/rekey";
    for (method, path, body, status, kind) in [
        ("GET", "/", None, 404, "no-such-path"),
        ("GET", "/v2/sessions", None, 404, "no-such-path"),
        ("GET", "/v1/sessions/7", None, 404, "no-such-session"),
        ("GET", "/v1/sessions/not-a-number", None, 404, "no-such-session"),
        ("DELETE", "/v1/sessions/7", None, 404, "no-such-session"),
        ("POST", "/v1/sessions", None, 405, "method-not-allowed"),
        ("PUT", "/v1/sessions/7", Some("{}"), 405, "method-not-allowed"),
        ("DELETE", "/v1/health", None, 405, "method-not-allowed"),
        ("POST", "/v1/ports", None, 405, "method-not-allowed"),
        ("GET", "/v1/sessions?limit=0", None, 400, "bad-query"),
        ("GET", "/v1/sessions?limit=1001", None, 400, "bad-query"),
        ("GET", "/v1/sessions?limit=many", None, 400, "bad-query"),
        ("GET", "/v1/sessions?sort=user", None, 400, "bad-query"),
        ("GET", "/v1/sessions?page_token=%2e%2e", None, 400, "bad-query"),
        ("GET", "/v1/sessions?state=asleep", None, 400, "bad-query"),
        ("GET", "/v1/sessions?state=inactive&page_token=7", None, 400, "bad-query"),
        ("GET", "/v1/sessions?state=inactive&page_token=7-short", None, 400, "bad-query"),
        ("DELETE", "/v1/sessions", None, 400, "bad-query"),
        ("DELETE", "/v1/sessions?state=inactive&peer=127.0.0.1", None, 400, "bad-query"),
        ("DELETE", "/v1/sessions?state=active&peer=nowhere", None, 400, "bad-query"),
        ("DELETE", "/v1/sessions/7?state=inactive", None, 404, "no-such-session"),
        ("POST", "/v1/stats/reconnect", None, 405, "method-not-allowed"),
        ("DELETE", "/v1/counters", None, 405, "method-not-allowed"),
        ("POST", rekey, Some(r#"{"what":"ike"}"#), 404, "no-such-session"),
        ("POST", rekey, Some("{"), 400, "bad-body"),
        ("POST", rekey, Some("{}"), 422, "bad-body"),
        ("POST", rekey, Some(r#"{"what":"everything"}"#), 422, "bad-body"),
        ("POST", rekey, Some(r#"{"what":"ike","more":1}"#), 422, "bad-body"),
        ("POST", rekey, Some(large.as_str()), 413, "bad-body"),
        ("POST", rekey, None, 415, "bad-body"),
    ] {
        let answer = http::request(&gateway.api, method, path, body);
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        assert_eq!(answer.header_value("content-type").as_deref(), Some("application/problem+json"));
        let problem: Problem = answer.json();
        assert_eq!((problem.kind, problem.status), (format!("/problems/{kind}"), status), "{method} {path}");
        assert!(!problem.title.is_empty() && !problem.detail.is_empty() && !problem.remedy.is_empty());
        if status == 405 {
            let allow = answer.header_value("allow").unwrap();
            assert!(allow.contains(if path.ends_with('7') { "DELETE" } else { "GET" }), "{path}: {allow}");
        }
    }
}

#[test]
fn problems_name_the_place() {
    let gateway = Gateway::start("places", "");
    let (rekey, conditions) = ("/v1/sessions/7/rekey", "/v1/debug/conditions");
    for (method, path, body, pointer, parameter) in [
        ("GET", "/v1/sessions?limit=0", None, None, Some("limit")),
        ("GET", "/v1/sessions?limit=many", None, None, Some("limit")),
        ("GET", "/v1/sessions?sort=user", None, None, Some("sort")),
        ("GET", "/v1/sessions?state=asleep", None, None, Some("state")),
        ("DELETE", "/v1/sessions", None, None, Some("state")),
        ("GET", "/v1/sessions/7", None, None, Some("id")),
        ("GET", "/v1/sessions/%ff", None, None, Some("id")),
        ("POST", rekey, Some("{}"), Some("/what"), None),
        ("POST", rekey, Some("[]"), Some(""), None),
        (
            "POST",
            conditions,
            Some(r#"{"for":{"match":"username","value":"u"},"secs":-1}"#),
            Some("/secs"),
            None,
        ),
        ("POST", "/v1/redirect", Some(r#"{"to":"not a name"}"#), Some("/to"), None),
    ] {
        let problem: Problem = http::request(&gateway.api, method, path, body).json();
        let place = (problem.pointer.as_deref(), problem.parameter.as_deref());
        assert_eq!(place, (pointer, parameter), "{method} {path}: {problem:?}");
    }
}

#[test]
fn metrics_are_the_counters() {
    let gateway = Gateway::start("metrics", "");
    let answer = http::request(&gateway.api, "GET", "/metrics", None);
    assert_eq!(
        answer.header_value("content-type").as_deref(),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    let counters: Counters = http::get(&gateway.api, "/v1/counters");
    for counter in counters.flow.iter().chain(&counters.ike) {
        let name = format!("\ncauseway_{}_total ", counter.name);
        assert!(answer.body.contains(&name), "{name}");
    }
    assert!(answer.body.contains("causeway_pool_addresses{pool=\"staff\"} 62\n"));
}

#[test]
fn the_document_is_served_as_it_is_committed() {
    let gateway = Gateway::start("openapi", "");
    let served = http::request(&gateway.api, "GET", "/v1/openapi.json", None);
    assert_eq!(served.header_value("content-type").as_deref(), Some("application/json"));
    let committed = concat!(env!("CARGO_MANIFEST_DIR"), "/../ci/openapi/causeway-v1.json");
    assert!(served.body == std::fs::read_to_string(committed).unwrap());
}

#[test]
fn a_gateway_without_reconnect_has_no_inactive_sessions() {
    let gateway = Gateway::start("inactive", "");
    let list: InactiveSessionList = http::get(&gateway.api, "/v1/sessions?state=inactive&limit=5");
    assert_eq!(list, InactiveSessionList::default());
    let stats: ReconnectStats = http::get(&gateway.api, "/v1/stats/reconnect");
    assert_eq!((stats.enabled, stats.total_incoming, stats.inactive_capable), (false, 0, 0));
    let answer = http::request(&gateway.api, "DELETE", "/v1/sessions?state=inactive", None);
    assert_eq!((answer.status, answer.json::<Cleared>()), (202, Cleared { cleared: 0 }));
}

#[test]
fn headers_are_bounded() {
    let gateway = Gateway::start("headers", "");
    let line = format!("X-Filler: {}\r\n", "x".repeat(1000));
    let long = format!("GET /v1/health HTTP/1.1\r\nHost: localhost\r\n{}\r\n", line.repeat(30));
    assert_eq!(http::raw(&gateway.api, long.as_bytes()).status, 431);
    let many = format!("GET /v1/health HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "A: b\r\n".repeat(100));
    assert_eq!(http::raw(&gateway.api, many.as_bytes()).status, 431);
    assert_eq!(http::raw(&gateway.api, b"NONSENSE\r\n\r\n").status, 400);
    assert_eq!(gateway.health().version, "test");
}

#[test]
fn health_and_counters_say_what_runs() {
    let gateway = Gateway::start("health", "");
    let health = gateway.health();
    assert_eq!(health.status, "degraded", "a control plane without data plane carries nothing");
    assert!(health.problems[0].contains("--udp"));
    assert_eq!((health.pools["staff"].used, health.pools["staff"].size), (0, 62));
    let ports: PortList = http::get(&gateway.api, "/v1/ports");
    assert_eq!(ports, PortList::default(), "no data plane, no ports");
    assert_eq!(gateway.counter("driver_panics_caught"), 0);
    assert_eq!(gateway.counter("ike_datagrams_in"), 0);
}
