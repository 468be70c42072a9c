//! The command as an operator meets it: configuration checks, tables and JSON from a fake management API, exit codes.
//! Long because every command is asked of the same fake API.

// A helper of a test that fails has nobody to report to but the test's log.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};

use causeway_shared::api::{
    ChildSa, Counter, Counters, EspDetails, Health, IkeDetails, PoolUse, Port, PortEsp, PortLink, PortList,
    Problem, Session, SessionList, SessionState, Spread, Traffic,
};
use causeway_shared::config::PortRole;
use support::{Directory, causeway, run, stderr, stdout};

/// A management API that gives prepared answers, one for each connection, and tells what it was asked.
struct Api {
    socket: PathBuf,
    asked: Receiver<String>,
    _directory: Directory,
}

impl Api {
    fn new(answers: Vec<(u16, String)>) -> Api {
        let directory = Directory::new();
        let socket = directory.0.join("api.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let (tell, asked) = channel();
        std::thread::spawn(move || {
            for (status, body) in answers {
                let (mut stream, _) = listener.accept().unwrap();
                tell.send(read_request(&mut stream)).unwrap();
                let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n", body.len());
                stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
            }
        });
        Api { socket, asked, _directory: directory }
    }

    fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let output = causeway().args(arguments).arg("--socket").arg(&self.socket).output().unwrap();
        (output.status.code(), stdout(&output), stderr(&output))
    }

    /// The request line and body of the next request.
    fn asked(&self) -> String {
        self.asked.recv().unwrap()
    }
}

fn read_request(stream: &mut impl Read) -> String {
    let mut got = Vec::new();
    let mut octet = [0u8; 1];
    while !got.ends_with(b"\r\n\r\n") && stream.read(&mut octet).unwrap() == 1 {
        got.push(octet[0]);
    }
    let head = String::from_utf8(got).unwrap();
    let length: usize = head
        .lines()
        .find_map(|l| l.to_lowercase().strip_prefix("content-length: ").map(|n| n.parse().unwrap()))
        .unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    let line = head.lines().next().unwrap().trim_end_matches(" HTTP/1.1");
    format!("{line} {}", String::from_utf8(body).unwrap()).trim_end().to_owned()
}

fn session(id: &str, user: &str) -> Session {
    Session {
        id: id.into(),
        user: user.into(),
        ike_identity: "alice@example.com".into(),
        auth_method: "eap-mschapv2".into(),
        state: SessionState::Active,
        inner_address: Some(Ipv4Addr::new(10, 99, 0, 7)),
        inner_prefix6: None,
        pool: Some("clients".into()),
        peer: "198.51.100.9:4500".into(),
        nat_detected: true,
        ike_suite: "aes256gcm16-prfsha384-ecp384".into(),
        ike_spis: "0011223344556677_8899aabbccddeeff".into(),
        established_secs: 11_220,
        set_up_ms: 1234,
        idle_secs: 3,
        traffic: Traffic { in_packets: 2_000_000, in_bytes: 3_145_728, out_packets: 5, out_bytes: 500 },
        child_sas: vec![ChildSa {
            inbound_spi: "c0ffee01".into(),
            outbound_spi: "0badcafe".into(),
            esp_suite: "aes256gcm16-esn".into(),
            encapsulation: "udp".into(),
            local_selectors: vec!["10.0.0.0/8".into()],
            peer_selectors: vec!["10.99.0.7/32".into()],
            in_packets: 1_234_567,
            in_bytes: 1_572_864,
            out_packets: 2,
            out_bytes: 200,
            established_secs: 60,
            esp: EspDetails::default(),
        }],
        ike: IkeDetails::default(),
    }
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap()
}

#[test]
fn sessions_are_a_table_over_all_pages() {
    let page = |session, next: Option<&str>| {
        let list =
            SessionList { sessions: vec![session], total: 2, next_page_token: next.map(str::to_owned) };
        (200, json(&list))
    };
    let api = Api::new(vec![
        page(session("s1", "alice"), Some("a b")),
        page(session("s2", "\u{1b}[31mmallory"), None),
    ]);
    let (code, out, _) = api.run(&["show", "sessions"]);
    assert_eq!(code, Some(0));
    assert_eq!(api.asked(), "GET /v1/sessions?limit=1000");
    assert_eq!(api.asked(), "GET /v1/sessions?limit=1000&page_token=a%20b");
    let lines: Vec<Vec<&str>> = out.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(
        lines[0],
        ["ID", "USER", "STATE", "ADDRESS", "PEER", "NAT", "IKE", "ESP", "IN", "OUT", "UP", "IDLE"]
    );
    assert_eq!(
        lines[1].join(" "),
        "s1 alice active 10.99.0.7 198.51.100.9:4500 yes aes256gcm16-prfsha384-ecp384 aes256gcm16-esn 3.0 MiB 500 B 3h 07m 3s"
    );
    assert_eq!(lines[2][..2], ["s2", "?[31mmallory"], "a name cannot drive the terminal");
    assert_eq!(lines[3], ["2", "sessions"]);
}

#[test]
fn json_is_the_body_as_it_came() {
    let body = "{\"sessions\":[],  \"total\":0, \"field_of_a_later_version\":1}";
    let api = Api::new(vec![(200, body.into())]);
    let (code, out, _) =
        api.run(&["show", "sessions", "--json", "--user", "a&b", "--limit", "5", "--page-token", "t"]);
    assert_eq!((code, out), (Some(0), format!("{body}\n")));
    assert_eq!(api.asked(), "GET /v1/sessions?user=a%26b&limit=5&page_token=t");
}

#[test]
fn one_session_is_shown_in_detail() {
    let api = Api::new(vec![(200, json(&session("s1", "alice")))]);
    let (code, out, _) = api.run(&["show", "session", "s/1"]);
    assert_eq!((code, api.asked()), (Some(0), "GET /v1/sessions/s%2F1".into()));
    for line in [
        "Session s1",
        "user          alice",
        "address       10.99.0.7 from pool clients",
        "peer          198.51.100.9:4500, behind NAT",
        "up            3h 07m, set up in 1 234 ms",
        "from client   2 000 000 packets, 3.0 MiB",
        "to client     5 packets, 500 B",
        "Child SA, up 1m 00s",
        "suite         aes256gcm16-esn, in UDP",
        "SPIs          in c0ffee01, out 0badcafe",
        "from client   1 234 567 packets, 1.5 MiB",
    ] {
        assert!(out.lines().any(|l| l.trim() == line), "`{line}` is not in\n{out}");
    }
}

#[test]
fn counters_above_zero_are_shown_with_what_to_do() {
    let counter = |name: &str, value, remedy: &str| Counter {
        name: name.into(),
        value,
        meaning: format!("Meaning of {name}."),
        remedy: remedy.into(),
    };
    let counters = Counters {
        flow: vec![counter("rx_packets", 12_345, ""), counter("rx_idle", 0, "")],
        drops: vec![counter("replay", 4, "Look for duplicates."), counter("no_route", 0, "Add a route.")],
        ike: vec![],
    };
    let api = Api::new(vec![(200, json(&counters)), (200, json(&counters))]);
    let (code, out, _) = api.run(&["show", "counters"]);
    assert_eq!(code, Some(0));
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines: Vec<String> = out.lines().map(words).collect();
    for line in [
        "rx_packets 12 345 Meaning of rx_packets.",
        "-> replay: Look for duplicates.",
        "IKE: nothing counted",
    ] {
        assert!(lines.iter().any(|l| l == line), "`{line}` is not in\n{out}");
    }
    assert!(!out.contains("rx_idle") && !out.contains("Add a route"), "{out}");
    let (_, all, _) = api.run(&["show", "counters", "--all"]);
    assert!(all.contains("rx_idle") && all.contains("no_route") && !all.contains("Add a route"), "{all}");
}

#[test]
fn health_decides_the_exit_code() {
    let mut health = Health {
        status: "ok".into(),
        version: "0.1.0".into(),
        dataplane_attached: true,
        dataplane_epoch: 2,
        workers: 4,
        sessions: 10_000,
        half_open: 0,
        pools: [("clients".to_owned(), PoolUse { used: 51, size: 254 })].into(),
        problems: vec![],
    };
    let good = json(&health);
    health.status = "degraded".into();
    health.dataplane_attached = false;
    health.problems = vec!["the data plane is away".into()];
    let api = Api::new(vec![(200, good), (200, json(&health)), (200, json(&health))]);
    let (code, out, _) = api.run(&["show", "health"]);
    assert_eq!(code, Some(0));
    assert!(
        out.contains("attached, epoch 2, 4 workers") && out.contains("51 of 254 addresses, 20 %"),
        "{out}"
    );
    let (code, out, _) = api.run(&["show", "health"]);
    assert_eq!(code, Some(1));
    assert!(out.contains("problem: the data plane is away"), "{out}");
    let (code, out, _) = api.run(&["show", "health", "--json"]);
    assert_eq!((code, out), (Some(1), format!("{}\n", json(&health))));
}

#[test]
fn ports_are_shown_with_what_was_chosen_for_them() {
    let lan = Port {
        name: "lan".into(),
        device: "0000:3b:00.1".into(),
        driver: "net_ixgbe".into(),
        role: PortRole::Inside,
        mac: "02:00:00:00:00:02".into(),
        mtu: 9000,
        link: PortLink { up: false, speed_mbps: None },
        rx_queues: 1,
        tx_queues: 2,
        polled_by: vec![1],
        spread: Spread::Software,
        esp: PortEsp {
            engine: "wide".into(),
            reason: "fastest".into(),
            device_failed: false,
            inline_capable: true,
        },
    };
    let wan = Port {
        name: "wan\u{1b}[2J".into(),
        role: PortRole::Outside,
        link: PortLink { up: true, speed_mbps: Some(10_000) },
        polled_by: vec![0, 1],
        spread: Spread::ReceiveHash,
        esp: PortEsp { inline_capable: false, device_failed: true, ..lan.esp.clone() },
        ..lan.clone()
    };
    let list = json(&PortList { dataplane_attached: true, ports: vec![lan, wan] });
    let api = Api::new(vec![(200, list.clone()), (200, list.clone()), (200, json(&PortList::default()))]);
    let (code, out, _) = api.run(&["show", "ports"]);
    assert_eq!((code, api.asked()), (Some(0), "GET /v1/ports".into()));
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines: Vec<String> = out.lines().map(words).collect();
    for line in [
        "lan inside down net_ixgbe 02:00:00:00:00:02 9000 1 in, 2 out software",
        "lan: 0000:3b:00.1",
        "polled by worker 1",
        "polled by workers 0, 1",
        "ESP engine wide: fastest",
        "the crypto device has FAILED: software does all until the data plane is restarted",
        "inline ESP offered by the device, not used",
        "inline ESP not offered by the device",
    ] {
        assert!(lines.iter().any(|l| l == line), "`{line}` is not in\n{out}");
    }
    assert!(out.contains("up, 10000 Mbit/s") && out.contains("receive hash"), "{out}");
    assert!(!out.contains('\u{1b}'), "what a data plane says does not reach the terminal as it is:\n{out}");
    assert_eq!(api.run(&["show", "ports", "--json"]).1, format!("{list}\n"));
    let (code, out, _) = api.run(&["show", "ports"]);
    assert!(code == Some(0) && out.contains("not attached"), "{out}");
}

#[test]
fn sessions_are_cleared_and_rekeyed() {
    let api = Api::new(vec![(202, String::new()), (202, String::new()), (202, String::new())]);
    for (arguments, request) in [
        (&["clear", "session", "s1"][..], "DELETE /v1/sessions/s1"),
        (&["rekey", "session", "s1"], "POST /v1/sessions/s1/rekey {\"what\":\"child\"}"),
        (&["rekey", "session", "s1", "ike"], "POST /v1/sessions/s1/rekey {\"what\":\"ike\"}"),
    ] {
        let (code, out, error) = api.run(arguments);
        assert_eq!((code, api.asked()), (Some(0), request.to_owned()), "{out}{error}");
    }
}

#[test]
fn crypto_sessions_are_shown_over_all_pages_and_as_one_json() {
    let page = |id: &str, next: Option<&str>| {
        let list = SessionList {
            sessions: vec![session(id, "alice")],
            total: 2,
            next_page_token: next.map(str::to_owned),
        };
        (200, json(&list))
    };
    for (words, lines) in [
        (
            &["session"][..],
            &[
                "Crypto session current status",
                "Session status: UP-ACTIVE",
                "Session ID: s1",
                "Session ID: s2",
            ][..],
        ),
        (
            &["session", "detail"],
            &["R - IKE Auto Reconnect", "Phase1_id: alice@example.com", "Session ID: s2", "Uptime: 03:07:00"],
        ),
        (
            &["ikev2", "session"],
            &["IPv4 Crypto IKEv2 Session", "Session-id:s2, Status:UP-ACTIVE, IKE count:1, CHILD count:1"],
        ),
        (
            &["ikev2", "session", "detailed"],
            &[
                "Remote id: alice@example.com",
                "ESP spi in/out: 0xC0FFEE01/0xBADCAFE",
                "Assigned host addr: 10.99.0.7",
            ],
        ),
        (&["ikev2", "session", "detail"], &["Remote id: alice@example.com"]),
        (&["ikev2", "sa"], &["IPv4 Crypto IKEv2 SA", "Life/Active Time: 0/11220 sec"]),
        (&["ikev2", "sa", "detailed"], &["IPv4 Crypto IKEv2 SA", "Initiator of SA : No"]),
    ] {
        let api = Api::new(vec![page("s1", Some("t")), page("s2", None)]);
        let (code, out, error) = api.run(&[&["show", "crypto"], words].concat());
        assert_eq!(code, Some(0), "{error}");
        assert_eq!(api.asked(), "GET /v1/sessions?limit=1000");
        assert_eq!(api.asked(), "GET /v1/sessions?limit=1000&page_token=t");
        for line in lines {
            assert!(out.lines().any(|l| l.trim() == *line), "`{line}` is not in\n{out}");
        }
        let api = Api::new(vec![page("s1", Some("t")), page("s2", None)]);
        let (code, out, _) = api.run(&[&["show", "crypto", "--json"], words].concat());
        assert_eq!(code, Some(0));
        let list: SessionList = serde_json::from_str(&out).unwrap();
        assert_eq!(list.sessions, [session("s1", "alice"), session("s2", "alice")]);
    }
}

#[test]
fn reconnect_statistics_are_shown() {
    let body = r#"{"total_incoming":3,"success":1,"failed":2,"active_capable":4,"inactive_capable":5}"#;
    let api = Api::new(vec![(200, body.into()), (200, body.into()), (200, body.into())]);
    let words = ["show", "crypto", "ikev2", "stats", "reconnect"];
    let (code, out, _) = api.run(&words);
    assert_eq!((code, api.asked()), (Some(0), "GET /v1/stats/reconnect".into()));
    let expected = [
        "Total incoming reconnect connection: 3",
        "Success reconnect connection: 1",
        "Failed reconnect connection: 2",
        "Reconnect capable active session count: 4",
        "Reconnect capable inactive session count: 5",
    ];
    assert_eq!(out.lines().collect::<Vec<_>>(), expected);
    let (_, out, _) = api.run(&[&words[..], &["detail"]].concat());
    assert!(out.lines().any(|line| line.contains("reconnect.enabled is not set")), "{out}");
    let (_, out, _) = api.run(&[&words[..], &["--json"]].concat());
    assert_eq!(out, format!("{body}\n"));
}

#[test]
fn inactive_sessions_are_a_table_of_their_own() {
    let page = |id: &str, next: &str| {
        let text = format!(
            r#"{{"sessions":[{{"id":"{id}","user":"alice","inner_address":"10.99.0.7","last_peer":"192.0.2.9:61000",
            "inactive_secs":61,"expires_in_secs":839,"resumes":2}}],"total":2{next}}}"#
        );
        (200, text)
    };
    let api = Api::new(vec![page("aaa", r#","next_page_token":"aaa""#), page("bbb", ""), (200, "{}".into())]);
    let (code, out, error) = api.run(&["show", "sessions", "--inactive"]);
    assert_eq!(code, Some(0), "{error}");
    assert_eq!(api.asked(), "GET /v1/sessions?state=inactive&limit=1000");
    assert_eq!(api.asked(), "GET /v1/sessions?state=inactive&limit=1000&page_token=aaa");
    let lines: Vec<String> =
        out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(lines[0], "ID USER ADDRESS LAST PEER RESUMES SILENT EXPIRES IN");
    assert_eq!(lines[1], "aaa alice 10.99.0.7 192.0.2.9:61000 2 1m 01s 13m 59s");
    assert_eq!(lines[3], "2 inactive sessions");
    let (code, out, _) = api.run(&["show", "sessions", "--inactive", "--user", "bob", "--json"]);
    assert_eq!((code, out.as_str()), (Some(0), "{}\n"));
    assert_eq!(api.asked(), "GET /v1/sessions?state=inactive&user=bob");
}

#[test]
fn crypto_sessions_are_cleared_as_named_and_never_by_accident() {
    for (words, answer, request, told) in [
        (&["s1"][..], (202, ""), "DELETE /v1/sessions/s1", "1 session is being ended"),
        (
            &["s1", "--inactive"],
            (204, ""),
            "DELETE /v1/sessions/s1?state=inactive",
            "1 session is being ended",
        ),
        (
            &["all"],
            (202, r#"{"cleared":2}"#),
            "DELETE /v1/sessions?state=active",
            "2 sessions are being ended",
        ),
        (
            &["remote", "192.0.2.1"],
            (202, r#"{"cleared":1}"#),
            "DELETE /v1/sessions?state=active&peer=192.0.2.1",
            "1 session is being ended",
        ),
        (
            &["--inactive", "--json"],
            (202, r#"{"cleared":3}"#),
            "DELETE /v1/sessions?state=inactive",
            r#"{"cleared":3}"#,
        ),
    ] {
        let api = Api::new(vec![(answer.0, answer.1.into())]);
        let (code, out, error) = api.run(&[&["clear", "crypto", "session"], words].concat());
        assert_eq!((code, api.asked().as_str(), out.trim()), (Some(0), request, told), "{error}");
    }
    for words in [&[][..], &["remote"], &["remote", "nowhere"], &["a", "b"]] {
        let output = run(&[&["clear", "crypto", "session"], words].concat());
        assert_eq!(output.status.code(), Some(2), "{words:?}: {}", stderr(&output));
    }
}

#[test]
fn debug_conditions_and_topics_are_set_and_shown() {
    let condition = r#"{"id":7,"for":{"match":"peer-ipv4","value":"192.0.2.1"},"expires_in_secs":3600}"#;
    let state = format!(r#"{{"conditions":[{condition}],"topics":["error"],"lines":1234,"suppressed":0}}"#);
    let api = Api::new(vec![
        (201, condition.into()),
        (200, state.clone()),
        (200, state.clone()),
        (200, state.clone()),
        (204, String::new()),
    ]);
    let debug = |words: &str| {
        api.run(&[&["debug", "crypto"], &words.split_whitespace().collect::<Vec<_>>()[..]].concat())
    };
    let (code, out, error) = debug("condition peer ipv4 192.0.2.1 --secs 3600");
    assert_eq!((code, out.as_str()), (Some(0), "condition 7: peer ipv4 192.0.2.1, for 1h 00m\n"), "{error}");
    assert_eq!(
        api.asked(),
        r#"POST /v1/debug/conditions {"for":{"match":"peer-ipv4","value":"192.0.2.1"},"secs":3600,"until_reset":false}"#
    );
    let (code, out, error) = debug("ikev2 packet");
    assert_eq!(code, Some(0), "{error}");
    assert_eq!(api.asked(), "GET /v1/debug/conditions");
    assert_eq!(api.asked(), r#"POST /v1/debug/topics {"topics":["packet","error"]}"#, "what is on stays on");
    assert!(out.contains("crypto ikev2: error") && out.contains("1 234 lines logged"), "{out}");
    let (code, out, _) = debug("show --json");
    assert_eq!((code, out), (Some(0), format!("{state}\n")));
    assert_eq!(api.asked(), "GET /v1/debug/conditions");
    assert_eq!(debug("condition reset").0, Some(0));
    assert_eq!(api.asked(), "DELETE /v1/debug/conditions");
    for words in [
        "condition username u --secs 5 --until-reset",
        "condition peer ipv4 x",
        "condition session s --secs 0",
    ] {
        assert_eq!(debug(words).0, Some(2), "{words}");
    }
}

#[test]
fn exported_keys_are_files_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let directory = Directory::new();
    let target = directory.0.join("keys/s1");
    let body = r#"{"ikev2_decryption_table":["a,b"],"esp_sa":["c","d"]}"#;
    let problem = Problem { remedy: "set management.allow_key_export".into(), ..Problem::default() };
    let api = Api::new(vec![(200, body.into()), (403, json(&problem))]);
    let words = ["debug", "export-keys", "--session", "s1", "-o", target.to_str().unwrap()];
    let (code, _, error) = api.run(&words);
    assert_eq!((code, api.asked().as_str()), (Some(0), "POST /v1/sessions/s1/keys"), "{error}");
    for (name, content) in [("ikev2_decryption_table", "a,b\n"), ("esp_sa", "c\nd\n")] {
        let file = target.join(name);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), content);
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let (code, _, error) = api.run(&words);
    assert_eq!(code, Some(1));
    assert!(error.contains("management.allow_key_export"), "{error}");
}

#[test]
fn problems_of_the_api_are_told_in_its_words() {
    let problem = Problem {
        kind: "/problems/no-such-session".into(),
        title: "No such session".into(),
        status: 404,
        detail: "There is no session `s9`.".into(),
        remedy: "`GET /v1/sessions` lists them.".into(),
        parameter: Some("id".into()),
        ..Problem::default()
    };
    let api = Api::new(vec![(404, json(&problem)), (500, "oops".into()), (200, "[]".into())]);
    let (code, _, error) = api.run(&["clear", "session", "s9"]);
    assert_eq!(code, Some(1));
    assert_eq!(error, format!("causeway: {}: {} (`id`) {}\n", problem.title, problem.detail, problem.remedy));
    let (code, _, error) = api.run(&["show", "health"]);
    assert_eq!(code, Some(1));
    assert!(error.contains("the control plane answered 500"), "{error}");
    let (code, _, error) = api.run(&["show", "health"]);
    assert_eq!(code, Some(6));
    assert!(error.contains("are command and daemons of one version?"), "{error}");
}

#[test]
fn an_absent_control_plane_is_told_with_the_next_step() {
    let directory = Directory::new();
    let config = directory.config();
    let (config, socket) = (config.to_str().unwrap(), directory.0.join("run/api.sock"));
    let output = run(&["show", "sessions", "--config", config]);
    assert_eq!(output.status.code(), Some(3));
    let error = stderr(&output);
    assert!(error.contains(&format!("cannot reach the control plane at {}", socket.display())), "{error}");
    assert!(error.contains("Start it with `causeway run`"), "{error}");
}

#[test]
fn a_configuration_is_checked_with_exit_code_and_json() {
    let directory = Directory::new();
    let good = directory.config();
    let output = run(&["config", "check", good.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
    assert!(stdout(&output).contains("warning: ") && stdout(&output).contains(": good, 1 warning"));

    let text = std::fs::read_to_string(&good).unwrap().replace("10.99.0.0/24", "10.0.0.0/24");
    let bad = directory.write("bad.toml", &format!("{text}[log]\nfilter = \"a=b=c\"\n"));
    let output = run(&["config", "check", bad.to_str().unwrap()]);
    let out = stdout(&output);
    assert_eq!(output.status.code(), Some(1));
    for part in [
        "bad.toml:23:9\n  pool[1].range: 10.0.0.0/24 overlaps the subnet of port[2].address",
        "bad.toml:25:10\n  log.filter: `a=b=c` is not a log filter: ",
        "bad.toml: 2 mistakes, 1 warning",
    ] {
        assert!(out.contains(part), "`{part}` is not in\n{out}");
    }
    let output = run(&["config", "check", "--json", bad.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(report["ok"], false);
    assert_eq!(report["mistakes"][0]["key"], "pool[1].range");
    assert_eq!(report["mistakes"][0]["line"], 23);
    assert_eq!(report["warnings"].as_array().map(Vec::len), Some(1));
}

#[test]
fn the_manual_the_example_and_the_version_are_printed() {
    let manual =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md"));
    assert_eq!(stdout(&run(&["config", "manual"])), manual.unwrap());
    let example = stdout(&run(&["config", "example"]));
    assert_eq!(example, causeway_shared::config::example());
    assert!(stdout(&run(&["version"])).starts_with(concat!("causeway ", env!("CARGO_PKG_VERSION"), " (")));
    assert!(stdout(&run(&["completions", "bash"])).contains("_causeway()"));
    let output = run(&["shwo"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("show"), "{}", stderr(&output));
}

#[test]
fn a_password_from_a_pipe_becomes_its_line() {
    let hash = |input: &[u8]| {
        let mut child = causeway()
            .args(["user", "hash"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap()
    };
    for input in [&b"clientPass\n"[..], b"clientPass", b"clientPass\r\nmore\n"] {
        assert_eq!(stdout(&hash(input)), "password_nt_hash = \"44ebba8d5312b8d611474411f56989ae\"\n");
    }
    for (input, part) in [(&b"\n"[..], "is empty"), (&[b'x'; 300], "longer than 256")] {
        let output = hash(input);
        assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(2), ""));
        assert!(stderr(&output).contains(part), "{}", stderr(&output));
    }
}
