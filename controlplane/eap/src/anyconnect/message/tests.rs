//! Messages written and read back, and documents as other implementations write them.

use proptest::prelude::*;

use super::*;

#[test]
fn reads_an_init_as_clients_write_it() {
    let document = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
        <config-auth client=\"vpn\" type=\"init\" aggregate-auth-version=\"2\">\n  <version who=\"vpn\">5.1.2.42</version>\n\
        <device-id computer-name=\"LAPTOP\" device-type=\"Model 1\" platform-version=\"10.0.19045 \" unique-id=\"AA\" \
        unique-id-global=\"BB\">win</device-id>\n<mac-address-list>\n<mac-address public-interface=\"true\">00-50-56\
        </mac-address><mac-address>00-50-57</mac-address></mac-address-list>\n<group-select>staff</group-select>\n\
        <group-access>https://gw.example/</group-access>\n<capabilities><auth-method>multiple-cert</auth-method>\n\
        <auth-method>single-sign-on-v2</auth-method></capabilities>\n</config-auth>\n";
    let read = ClientMessage::read(document.as_bytes()).unwrap();
    assert!(read.unknown.is_empty());
    let ClientMessage::Init(init) = read.message else { panic!("no init") };
    let expected = Init {
        client: ClientInfo {
            version: "5.1.2.42".into(),
            device: Device {
                platform: "win".into(),
                computer_name: "LAPTOP".into(),
                device_type: "Model 1".into(),
                platform_version: "10.0.19045".into(),
                unique_id: "AA".into(),
                unique_id_global: "BB".into(),
            },
            mac_addresses: vec![
                MacAddress { address: "00-50-56".into(), public_interface: true },
                MacAddress { address: "00-50-57".into(), public_interface: false },
            ],
            auth_methods: vec!["multiple-cert".into(), "single-sign-on-v2".into()],
        },
        opaque: None,
        group_access: Some("https://gw.example/".into()),
        group_select: Some("staff".into()),
        no_certificate: false,
    };
    assert_eq!(init, expected);
}

#[test]
fn reads_forms_as_gateways_write_them() {
    let document = "<config-auth client=\"vpn\" type=\"auth-request\" aggregate-auth-version=\"2\">\
        <opaque is-for=\"sg\"><tunnel-group>t</tunnel-group><config-hash>1</config-hash></opaque><csport>443</csport>\
        <auth id=\"main\"><title>Login</title><message>Enter.</message><banner/>\
        <error id=\"88\" param1=\"Bad\" param2=\"luck\">Failed: %s, %s. %s</error>\
        <form method=\"post\" action=\"/\"><input type=\"text\" name=\"username\" label=\"Username:\"></input>\
        <input type=\"password\" name=\"password\" label=\"Password:\"/><input name=\"h\" type=\"hidden\" value=\"v\"/>\
        <select name=\"group_list\" label=\"GROUP:\"><option>a</option><option selected=\"true\">b</option></select>\
        </form></auth><host-scan><host-scan-ticket>x</host-scan-ticket></host-scan><later/></config-auth>";
    let read = GatewayMessage::read(document.as_bytes()).unwrap();
    assert_eq!(read.unknown, ["later"]);
    let GatewayMessage::AuthRequest(request) = read.message else { panic!("no auth-request") };
    assert_eq!(request.client_services_port, Some(443));
    assert!(request.opaque.unwrap().contains("<config-hash>1</config-hash>"));
    let Ask::Form(form) = request.ask else { panic!("no form") };
    assert_eq!(form.error.unwrap().display(), "Failed: Bad, luck. ");
    let inputs: Vec<_> =
        form.inputs.iter().map(|input| (input.kind, input.name.as_str(), input.value.as_str())).collect();
    let expected = [
        (InputKind::Text, "username", ""),
        (InputKind::Password, "password", ""),
        (InputKind::Hidden, "h", "v"),
    ];
    assert_eq!(inputs, expected);
    assert_eq!(form.groups.iter().map(|group| group.selected).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn every_malformed_field_is_named() {
    let complete = |inside: &str| {
        format!("<config-auth type='complete'><auth id='success'/><config>{inside}</config></config-auth>")
    };
    let hash = |hash: &str| {
        complete(&format!("<vpn-base-config><server-cert-hash>{hash}</server-cert-hash></vpn-base-config>"))
    };
    let profile = |file: &str| {
        complete(&format!("<vpn-profile-manifest><vpn><file>{file}</file></vpn></vpn-profile-manifest>"))
    };
    let good = "0123456789abcdefABCD0123456789abcdefABCD";
    assert!(GatewayMessage::read(hash(good).as_bytes()).is_ok());
    for (document, expected) in [
        (hash(&good[2..]), MessageError::Malformed("server-cert-hash")),
        (hash(&format!("+1{}", &good[2..])), MessageError::Malformed("server-cert-hash")),
        (hash(&format!("xx{}", &good[2..])), MessageError::Malformed("server-cert-hash")),
        (hash(&"é".repeat(20)), MessageError::Malformed("server-cert-hash")),
        (profile("<uri>u</uri>"), MessageError::Missing("hash")),
        (profile(&format!("<uri>u</uri><hash>{good}</hash>")), MessageError::Malformed("hash")),
        (profile(&format!("<hash type='sha1'>{good}</hash>")), MessageError::Missing("uri")),
        (complete("<csport>65536</csport>"), MessageError::Malformed("csport")),
        ("<config-auth type='complete'/>".into(), MessageError::Missing("auth")),
        (
            "<config-auth type='complete'><auth id='main'/></config-auth>".into(),
            MessageError::Malformed("auth"),
        ),
        ("<config-auth type='auth-request'/>".into(), MessageError::Missing("auth")),
        ("<config-auth type='init'/>".into(), MessageError::UnknownType),
    ] {
        assert_eq!(GatewayMessage::read(document.as_bytes()).err(), Some(expected), "{document}");
    }
}

#[test]
fn lists_are_bounded() {
    let many = |item: &str, count| format!("<{item}>x</{item}>").repeat(count);
    let init = |list: &str, item: &str, count| {
        let items = many(item, count);
        format!("<config-auth type='init'><{list}>{items}</{list}></config-auth>")
    };
    let form = |item: &str, count| {
        let items = format!("<{item} name='n'/>").repeat(count);
        format!("<config-auth type='auth-request'><auth><form>{items}</form></auth></config-auth>")
    };
    for (list, item) in [("mac-address-list", "mac-address"), ("capabilities", "auth-method")] {
        assert!(ClientMessage::read(init(list, item, MAX_LIST).as_bytes()).is_ok());
        let error = ClientMessage::read(init(list, item, MAX_LIST + 1).as_bytes()).err();
        assert!(matches!(error, Some(MessageError::TooMany(_))), "{item}");
    }
    for item in ["input", "select"] {
        assert!(GatewayMessage::read(form(item, MAX_LIST).as_bytes()).is_ok());
        let error = GatewayMessage::read(form(item, MAX_LIST + 1).as_bytes()).err();
        assert!(matches!(error, Some(MessageError::TooMany(_))), "{item}");
    }
    let unknown = format!("<config-auth type='ack'>{}</config-auth>", many("u", 100));
    assert_eq!(ClientMessage::read(unknown.as_bytes()).unwrap().unknown.len(), MAX_UNKNOWN);
}

#[test]
fn what_a_client_tells_of_itself_cannot_write_on_terminals() {
    let document = "<config-auth type='ack'><device-id computer-name='a&#10;b\u{9b}c'>x\u{85}y</device-id>\
        <mac-address-list><mac-address>1\n2</mac-address></mac-address-list></config-auth>";
    let ClientMessage::Ack(Ack { client }) = ClientMessage::read(document.as_bytes()).unwrap().message else {
        panic!("no ack")
    };
    assert_eq!(client.device.computer_name, "a\u{fffd}b\u{fffd}c");
    assert_eq!(client.device.platform, "x\u{fffd}y");
    assert_eq!(client.mac_addresses[0].address, "1\u{fffd}2");
}

/// A value that survives the trimming of fields.
fn words() -> impl Strategy<Value = String> {
    "[a-z<>&'\"é€%]([a-z<>&'\"é€% \n]{0,8}[a-z<>&'\"é€%])?"
}

/// Words without newline.
fn label_words() -> impl Strategy<Value = String> {
    "[a-z<>&'\"é€%]([a-z<>&'\"é€% ]{0,8}[a-z<>&'\"é€%])?"
}

fn maybe_words() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), words()]
}

prop_compose! {
    fn client_info()(
        version in label_words(),
        (platform, computer_name) in (label_words(), label_words()),
        mac_addresses in proptest::collection::vec((label_words(), any::<bool>()), 0..4),
        auth_methods in proptest::collection::vec(label_words(), 0..4),
    ) -> ClientInfo {
        let address = |(address, public_interface)| MacAddress { address, public_interface };
        let device = Device { platform, computer_name, ..Device::default() };
        ClientInfo { version, device, mac_addresses: mac_addresses.into_iter().map(address).collect(), auth_methods }
    }
}

prop_compose! {
    fn form()(
        (id, title, message, banner) in (words(), maybe_words(), maybe_words(), maybe_words()),
        error in proptest::option::of((words(), maybe_words(), words())),
        inputs in proptest::collection::vec((0u8..3, words(), maybe_words()), 0..4),
        groups in proptest::collection::vec((words(), any::<bool>()), 0..4),
    ) -> Form {
        let kinds = [InputKind::Text, InputKind::Password, InputKind::Hidden];
        let input = |(kind, name, value)| {
            Input { kind: kinds[usize::from(kind)], name, label: String::new(), value }
        };
        let error = error.map(|(id, param1, text)| FormError { id, param1, param2: String::new(), text });
        let group = |(name, selected)| GroupOption { name, selected };
        Form {
            id, title, message, banner, error,
            inputs: inputs.into_iter().map(input).collect(),
            groups: groups.into_iter().map(group).collect(),
        }
    }
}

proptest! {
    #[test]
    fn an_init_is_read_back(
        client in client_info(),
        group_access in proptest::option::of(words()),
        group_select in proptest::option::of(words()),
        no_certificate: bool,
    ) {
        let opaque = Some("<opaque is-for=\"sg\"><x/></opaque>".to_owned());
        let init = Init { client, opaque, group_access, group_select, no_certificate };
        let document = ClientMessage::Init(init.clone()).write().unwrap();
        let read = ClientMessage::read(document.as_bytes()).unwrap();
        prop_assert!(read.unknown.is_empty());
        let ClientMessage::Init(back) = read.message else { panic!() };
        prop_assert_eq!(back, init);
    }

    #[test]
    fn an_auth_reply_is_read_back(
        client in client_info(),
        answers in proptest::collection::vec(("[a-z_]{1,9}x", "[ -~\n€]{0,20}"), 0..5),
        group_select in proptest::option::of(words()),
    ) {
        let client = ClientInfo { auth_methods: vec![], ..client };
        let given = answers.iter().map(|(name, value)| Answer { name: name.clone(), value: Password::new(value.clone()) });
        let reply = AuthReply { client: client.clone(), opaque: None, answers: given.collect(), group_select: group_select.clone() };
        let document = ClientMessage::AuthReply(reply).write().unwrap();
        let ClientMessage::AuthReply(back) = ClientMessage::read(document.as_bytes()).unwrap().message else { panic!() };
        prop_assert_eq!(back.client, client);
        prop_assert_eq!(back.group_select, group_select);
        let back: Vec<_> = back.answers.iter().map(|answer| (answer.name.clone(), answer.value.as_str().to_owned())).collect();
        prop_assert_eq!(back, answers);
    }

    #[test]
    fn an_auth_request_is_read_back(form in form(), port in proptest::option::of(any::<u16>()), shape in 0u8..3, handle: u32) {
        let ask = match shape {
            0 => Ask::Certificate,
            1 => Ask::AuthenticationComplete,
            _ => Ask::Form(Box::new(form)),
        };
        let fields = OpaqueFields { tunnel_group: "a<b".into(), handle, auth_methods: vec!["x".into()], ..OpaqueFields::default() };
        let opaque = Some(fields.write().unwrap());
        let message = GatewayMessage::AuthRequest(AuthRequest { opaque, client_services_port: port, ask });
        let read = GatewayMessage::read(message.write().unwrap().as_bytes()).unwrap();
        prop_assert!(read.unknown.is_empty());
        prop_assert_eq!(read.message, message);
    }

    #[test]
    fn a_complete_is_read_back(
        (session_id, session_token, banner) in (maybe_words(), maybe_words(), maybe_words()),
        client_services_port: Option<u16>,
        server_cert_hash: Option<[u8; SHA1_OCTETS]>,
        profile in proptest::option::of((words(), any::<[u8; SHA1_OCTETS]>())),
    ) {
        let profile = profile.map(|(uri, sha1)| ProfileManifest { uri, sha1 });
        let complete = Complete { session_id, session_token, banner, client_services_port, server_cert_hash, profile };
        let message = GatewayMessage::Complete(Box::new(complete));
        let read = GatewayMessage::read(message.write().unwrap().as_bytes()).unwrap();
        prop_assert!(read.unknown.is_empty());
        prop_assert_eq!(read.message, message);
    }

    #[test]
    fn any_document_is_a_message_or_refused(
        kind in "(init|auth-reply|ack|hello|auth-request|complete)",
        inside in "(<(auth|form|input|select|option|opaque|config|device-id|error|csport|x)( (id|name|type)='(main|success|hidden|group_list|x)')?/?>|</(auth|form|select|opaque|config)>|[a-z ]){0,20}",
    ) {
        for document in [format!("<config-auth type='{kind}'>{inside}</config-auth>"), inside] {
            let _ = ClientMessage::read(document.as_bytes());
            let _ = GatewayMessage::read(document.as_bytes());
        }
    }
}
