//! Interfaces and routes. Enters: the profile's virtual template and what it refers to. Leaves: `[[port]]` and `[[route]]`, and
//! the IPsec profile that the template protects its tunnels with.

use std::net::Ipv4Addr;

use super::super::addresses::with_netmask;
use super::super::grammar::{Key, Mode};
use super::super::parse::Block;
use super::Work;

/// What hangs on the profile.
pub(super) struct Chain<'a> {
    /// `crypto ipsec profile`, if one refers to the profile.
    pub ipsec: Option<&'a Block>,
    /// Name of the interface that clients reach.
    outside: Option<String>,
}

/// Follows virtual template and IPsec profile.
pub(super) fn chain<'a>(work: &mut Work<'a>) -> Chain<'a> {
    let (ios, profile) = (work.ios, work.profile);
    let number = profile.last(Key::VirtualTemplate);
    let template = number.and_then(|setting| {
        let name = format!("virtual-template{}", setting.argument(0));
        ios.blocks(Mode::Interface).find(|interface| interface.name.eq_ignore_ascii_case(&name))
    });
    let why = "a session needs no interface of its own; `show crypto session` numbers them Virtual-Access as IOS does";
    if let Some(number) = number {
        work.notes.holds(number.line, why);
        if template.is_none() {
            work.notes.refuse(number.line, "there is no `interface Virtual-Template` of this number");
        }
    }
    let protection = template.and_then(|template| template.last(Key::Protection));
    let named = protection.map(|setting| setting.argument(0));
    let refers = |block: &&Block| block.last(Key::IkeProfile).is_some_and(|s| s.argument(0) == profile.name);
    let ipsec = match named {
        Some(name) => ios.find(Mode::IpsecProfile, name),
        None => ios.blocks(Mode::IpsecProfile).find(refers),
    };
    if let Some(template) = template {
        work.notes.holds(template.line, why);
        for setting in template.all(Key::Mtu) {
            work.notes.lacks(
                setting.line,
                "packets too large for a tunnel are answered with ICMP, so that senders learn its MTU",
            );
        }
        for setting in template.all(Key::IpAddress) {
            work.notes.lacks(setting.line, "clients see no address of the gateway inside the tunnel");
        }
    }
    if let Some(protection) = protection {
        match ipsec {
            Some(_) => work.notes.holds(protection.line, "every session is protected as [esp] says"),
            None => work.notes.refuse(protection.line, "there is no `crypto ipsec profile` of this name"),
        }
    }
    if let Some(reference) = ipsec.and_then(|ipsec| ipsec.last(Key::IkeProfile)) {
        if reference.argument(0) == profile.name {
            work.notes.holds(reference.line, "there is one set of rules for IKE and ESP");
        } else {
            work.notes.refuse(
                reference.line,
                format!("the template of profile `{}` uses another IKEv2 profile", profile.name),
            );
        }
    }
    let unnumbered = template.and_then(|template| template.last(Key::Unnumbered));
    let outside = unnumbered.map(|setting| setting.arguments.concat());
    if let Some(setting) = unnumbered {
        work.notes.became(
            setting.line,
            &["port.name"],
            "clients reach the gateway by this interface: the outside port",
        );
    }
    Chain { ipsec, outside }
}

/// Ports of the interfaces that have an address, and blanks for what is missing.
pub(super) fn ports(work: &mut Work<'_>, chain: &Chain<'_>) {
    let ios = work.ios;
    let is_outside = |block: &Block| {
        chain.outside.as_ref().is_some_and(|outside| block.name.eq_ignore_ascii_case(outside))
    };
    let physical: Vec<&Block> = ios
        .blocks(Mode::Interface)
        .filter(|block| {
            let name = block.name.to_lowercase();
            !["virtual-template", "loopback", "tunnel"].iter().any(|kind| name.starts_with(kind))
        })
        .filter(|block| block.last(Key::IpAddress).is_some())
        .collect();
    let outside = physical.iter().find(|block| is_outside(block)).copied();
    let name = chain.outside.as_deref().unwrap_or("outside");
    port(work, outside, name, "outside");
    let mut inside = physical.into_iter().filter(|block| !is_outside(block)).peekable();
    if inside.peek().is_none() {
        port(work, None, "inside", "inside");
    }
    for block in inside {
        port(work, Some(block), &block.name, "inside");
    }
    for setting in ios.globals(Key::Route) {
        let address = |index| setting.argument(index).parse::<Ipv4Addr>().ok();
        let prefix = address(0).zip(address(1)).and_then(|(network, mask)| with_netmask(network, mask));
        if let (Some(prefix), Some(via)) = (prefix, address(2)) {
            work.draft.section("[[route]]");
            work.draft.text("destination", &prefix.to_string());
            work.draft.text("via", &via.to_string());
            work.notes.became(setting.line, &["route.destination", "route.via"], "the same route");
        } else {
            work.notes.lacks(setting.line, "a route names network, mask and the address of the next hop");
        }
    }
}

fn port(work: &mut Work<'_>, block: Option<&Block>, name: &str, role: &str) {
    work.draft.section("[[port]]");
    work.draft.text("name", name);
    work.draft.text("role", role);
    let (device, address) = match role {
        "outside" => ("\"0000:3b:00.0\"", "\"192.0.2.1/24\""),
        _ => ("\"0000:3b:00.1\"", "\"198.51.100.1/24\""),
    };
    work.draft.blank("device", device, &format!("the DPDK device of port `{name}`"));
    let own = block.and_then(|block| block.last(Key::IpAddress)).and_then(|setting| {
        let address: Ipv4Addr = setting.argument(0).parse().ok()?;
        let prefix = with_netmask(address, setting.argument(1).parse().ok()?)?;
        Some((setting.line, format!("{address}/{}", prefix.length)))
    });
    match own {
        Some((line, own)) => {
            work.draft.text("address", &own);
            work.notes.became(line, &["port.address"], format!("our address on the {role} port"));
        }
        None => work.draft.blank(
            "address",
            address,
            &format!("our address on port `{name}`, with the subnet's length"),
        ),
    }
    if let Some(block) = block {
        work.notes.became(block.line, &["port.name", "port.role"], format!("it faces {role}"));
        if let Some(mtu) = block.last(Key::Mtu) {
            work.draft.raw("mtu", mtu.argument(0).parse::<u16>().unwrap_or(1500));
            work.notes.became(mtu.line, &["port.mtu"], "the same");
        }
    }
}
