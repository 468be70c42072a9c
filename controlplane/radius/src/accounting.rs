//! Accounting records (RFC 2866), and the bounded queue in which they wait for a server.
//!
//! Enters: what is known of a session, what it has carried, why it ended. Leaves: attributes; which record to send next, which
//! to drop when there are too many. An interim record is worth less than a start, and both less than a stop.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::attribute::{
    ACCT_AUTHENTIC, ACCT_DELAY_TIME, ACCT_INPUT_GIGAWORDS, ACCT_INPUT_OCTETS, ACCT_INPUT_PACKETS,
    ACCT_OUTPUT_GIGAWORDS, ACCT_OUTPUT_OCTETS, ACCT_OUTPUT_PACKETS, ACCT_SESSION_ID, ACCT_SESSION_TIME,
    ACCT_STATUS_TYPE, ACCT_TERMINATE_CAUSE, Attribute, Authentic, CALLED_STATION_ID, CALLING_STATION_ID,
    CISCO, CISCO_AVPAIR, CLASS, EVENT_TIMESTAMP, FRAMED_IP_ADDRESS, FRAMED_IPV6_ADDRESS, FRAMED_IPV6_PREFIX,
    NAS_IDENTIFIER, NAS_IP_ADDRESS, NAS_IPV6_ADDRESS, NAS_PORT, NAS_PORT_TYPE, PORT_VIRTUAL, SERVICE_FRAMED,
    SERVICE_TYPE, StatusType, TUNNEL_CLIENT_ENDPOINT, TerminateCause, USER_NAME,
};
use crate::ipv6::{self, MAX_PREFIX_LENGTH};
use crate::packet::{AttributeList, TooLong};

/// Who the gateway is, for the server.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Nas {
    /// NAS-Identifier.
    pub identifier: String,
    /// NAS-IP-Address or NAS-IPv6-Address.
    pub address: Option<IpAddr>,
}

/// A session, as requests of both kinds name it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Subject {
    /// User-Name.
    pub user: String,
    /// Acct-Session-Id: the same from login to the end, however often the client comes back.
    pub session_id: String,
    /// NAS-Port: the gateway's number of the session.
    pub port: u32,
    /// Where the client is: Calling-Station-Id and Tunnel-Client-Endpoint.
    pub client: Option<IpAddr>,
    /// Where it came to: Called-Station-Id.
    pub gateway: Option<IpAddr>,
    /// Framed-IP-Address.
    pub address: Option<Ipv4Addr>,
    /// Framed-IPv6-Address, and the length of the prefix that the client has around it: Framed-IPv6-Prefix.
    pub address6: Option<(Ipv6Addr, u8)>,
    /// Class of the Access-Accept, as it came.
    pub class: Vec<Vec<u8>>,
}

/// What a session has carried.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Octets from the client.
    pub in_octets: u64,
    /// Octets to the client.
    pub out_octets: u64,
    /// Packets from the client.
    pub in_packets: u64,
    /// Packets to the client.
    pub out_packets: u64,
    /// Seconds since its login.
    pub session_secs: u64,
}

/// An accounting record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// What it tells.
    pub status: StatusType,
    /// Of which session.
    pub subject: Subject,
    /// Who found out who the user is.
    pub authentic: Authentic,
    /// Nothing with a start.
    pub usage: Usage,
    /// With a stop.
    pub cause: Option<TerminateCause>,
    /// `inactive` or `resumed`, told by a `cisco-avpair` of `ipsec:reconnect-state`.
    pub reconnect_state: Option<&'static str>,
    /// Seconds since 1970.
    pub at_unix_secs: u64,
}

impl Nas {
    /// Adds who the gateway is and what kind of service it is.
    ///
    /// # Errors
    /// When the packet is full.
    pub fn push(&self, list: &mut AttributeList) -> Result<(), TooLong> {
        match self.address {
            Some(IpAddr::V4(address)) => list.push_address(NAS_IP_ADDRESS, address)?,
            Some(IpAddr::V6(address)) => list.push(NAS_IPV6_ADDRESS, &address.octets())?,
            None => {}
        }
        list.push_text(NAS_IDENTIFIER, &self.identifier)
    }
}

impl Subject {
    /// Adds what names the session.
    ///
    /// # Errors
    /// When the packet is full.
    pub fn push(&self, list: &mut AttributeList) -> Result<(), TooLong> {
        list.push_text(USER_NAME, &self.user)?;
        list.push_text(ACCT_SESSION_ID, &self.session_id)?;
        list.push_number(NAS_PORT, self.port)?;
        list.push_number(NAS_PORT_TYPE, PORT_VIRTUAL)?;
        list.push_number(SERVICE_TYPE, SERVICE_FRAMED)?;
        if let Some(client) = self.client {
            list.push_text(CALLING_STATION_ID, &client.to_string())?;
            list.push_text(TUNNEL_CLIENT_ENDPOINT, &client.to_string())?;
        }
        if let Some(gateway) = self.gateway {
            list.push_text(CALLED_STATION_ID, &gateway.to_string())?;
        }
        if let Some(address) = self.address {
            list.push_address(FRAMED_IP_ADDRESS, address)?;
        }
        if let Some((address, length)) = self.address6 {
            list.push(FRAMED_IPV6_ADDRESS, &address.octets())?;
            // Of one address there is no more to say (RFC 6911 §2.1).
            if length < MAX_PREFIX_LENGTH {
                list.push(FRAMED_IPV6_PREFIX, &ipv6::write((address, length)))?;
            }
        }
        self.class.iter().try_for_each(|class| list.push(CLASS, class))
    }
}

impl Record {
    /// The record as attributes, without Acct-Delay-Time.
    ///
    /// # Errors
    /// When it does not fit into one packet.
    pub fn attributes(&self, nas: &Nas) -> Result<AttributeList, TooLong> {
        let mut list = AttributeList::new();
        list.push_number(ACCT_STATUS_TYPE, self.status as u32)?;
        nas.push(&mut list)?;
        list.push_number(EVENT_TIMESTAMP, u32::try_from(self.at_unix_secs).unwrap_or(u32::MAX))?;
        if matches!(self.status, StatusType::AccountingOn | StatusType::AccountingOff) {
            list.push_text(ACCT_SESSION_ID, &self.subject.session_id)?;
            return Ok(list);
        }
        self.subject.push(&mut list)?;
        list.push_number(ACCT_AUTHENTIC, self.authentic as u32)?;
        if self.status != StatusType::Start {
            self.usage.push(&mut list)?;
        }
        if let Some(cause) = self.cause.filter(|_| self.status == StatusType::Stop) {
            list.push_number(ACCT_TERMINATE_CAUSE, cause as u32)?;
        }
        if let Some(state) = self.reconnect_state {
            list.push_vendor(CISCO, CISCO_AVPAIR, format!("ipsec:reconnect-state={state}").as_bytes())?;
        }
        Ok(list)
    }
}

impl Usage {
    fn push(&self, list: &mut AttributeList) -> Result<(), TooLong> {
        let low = |value: u64| u32::try_from(value & u64::from(u32::MAX)).unwrap_or(u32::MAX);
        let capped = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        let mut octets = |low_half: Attribute, high_half: Attribute, value: u64| {
            list.push_number(low_half, low(value))?;
            // RFC 2869 §5.1: only once the counter has wrapped.
            match low(value >> 32) {
                0 => Ok(()),
                gigawords => list.push_number(high_half, gigawords),
            }
        };
        octets(ACCT_INPUT_OCTETS, ACCT_INPUT_GIGAWORDS, self.in_octets)?;
        octets(ACCT_OUTPUT_OCTETS, ACCT_OUTPUT_GIGAWORDS, self.out_octets)?;
        // Packets have no high half: they wrap, as counters of 32 bits do.
        list.push_number(ACCT_INPUT_PACKETS, low(self.in_packets))?;
        list.push_number(ACCT_OUTPUT_PACKETS, low(self.out_packets))?;
        list.push_number(ACCT_SESSION_TIME, capped(self.session_secs))
    }
}

/// A record that waits to be acknowledged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Waiting {
    /// Its number, in the order of their making.
    pub number: u64,
    /// What it tells.
    pub status: StatusType,
    /// When it was made, seconds since 1970.
    pub made_at_unix_secs: u64,
    /// Without Acct-Delay-Time.
    pub attributes: AttributeList,
}

impl Waiting {
    /// What is sent now: with the time that the record has waited (RFC 2866 §5.2).
    pub fn to_send(&self, now_unix_secs: u64) -> AttributeList {
        let mut list = self.attributes.clone();
        let delay = u32::try_from(now_unix_secs.saturating_sub(self.made_at_unix_secs)).unwrap_or(u32::MAX);
        // One that fills its packet to the last octet goes without.
        let _ = list.push_number(ACCT_DELAY_TIME, delay);
        list
    }
}

/// The records that are not acknowledged yet.
pub struct Queue {
    most: usize,
    /// By number, the oldest first.
    waiting: BTreeMap<u64, Waiting>,
    /// Numbers of those that are not being sent.
    ready: VecDeque<u64>,
    last_number: u64,
}

impl Queue {
    /// An empty queue for `most` records.
    pub fn new(most: usize) -> Queue {
        Queue { most: most.max(1), waiting: BTreeMap::new(), ready: VecDeque::new(), last_number: 0 }
    }

    /// Takes a record; its number. If there are too many, the oldest interim record goes, else the oldest start, else the
    /// oldest of all: that one is given back.
    pub fn push(
        &mut self,
        status: StatusType,
        made_at_unix_secs: u64,
        attributes: AttributeList,
    ) -> (u64, Option<Waiting>) {
        self.last_number = self.last_number.saturating_add(1);
        let number = self.last_number;
        (number, self.put(Waiting { number, status, made_at_unix_secs, attributes }))
    }

    /// Takes a record of an earlier run back, under its number.
    pub fn restore(&mut self, record: Waiting) -> Option<Waiting> {
        self.last_number = self.last_number.max(record.number);
        self.put(record)
    }

    /// The next one to be sent.
    pub fn take_ready(&mut self) -> Option<&Waiting> {
        loop {
            let number = self.ready.pop_front()?;
            if self.waiting.contains_key(&number) {
                return self.waiting.get(&number);
            }
        }
    }

    /// A server has it. Returns whether it was still there.
    pub fn acknowledged(&mut self, number: u64) -> bool {
        self.waiting.remove(&number).is_some()
    }

    /// Nobody answered: it is sent again when its turn comes, before what was made after it.
    pub fn unanswered(&mut self, number: u64) {
        if self.waiting.contains_key(&number) {
            self.ready.push_front(number);
        }
    }

    /// Records that wait, those being sent included.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn put(&mut self, record: Waiting) -> Option<Waiting> {
        let dropped = if self.waiting.len() >= self.most { self.make_room() } else { None };
        self.ready.push_back(record.number);
        self.waiting.insert(record.number, record);
        dropped
    }

    fn make_room(&mut self) -> Option<Waiting> {
        let oldest = |status| self.waiting.values().find(|one| one.status == status).map(|one| one.number);
        let victim = oldest(StatusType::InterimUpdate).or_else(|| oldest(StatusType::Start));
        let victim = victim.or_else(|| self.waiting.keys().next().copied())?;
        self.ready.retain(|number| *number != victim);
        self.waiting.remove(&victim)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(status: StatusType) -> Record {
        Record {
            status,
            subject: Subject {
                user: "ann".into(),
                session_id: "0011aabb".into(),
                port: 7,
                client: Some(IpAddr::from([192, 0, 2, 1])),
                gateway: Some(IpAddr::from([192, 0, 2, 2])),
                address: Some([10, 0, 0, 9].into()),
                address6: None,
                class: vec![b"one".to_vec(), vec![0xFF; 253]],
            },
            authentic: Authentic::Radius,
            usage: Usage {
                in_octets: 5 << 32 | 17,
                out_octets: 4_000_000_000,
                in_packets: 100,
                out_packets: 1 << 32 | 3,
                session_secs: 61,
            },
            cause: Some(TerminateCause::UserRequest),
            reconnect_state: None,
            at_unix_secs: 1_700_000_000,
        }
    }

    #[test]
    fn octets_beyond_four_gigabytes_have_a_high_half() {
        let list = record(StatusType::Stop).attributes(&Nas::default()).unwrap();
        let number = |attribute| list.attributes().number(attribute);
        assert_eq!((number(ACCT_INPUT_OCTETS), number(ACCT_INPUT_GIGAWORDS)), (Some(17), Some(5)));
        assert_eq!((number(ACCT_OUTPUT_OCTETS), number(ACCT_OUTPUT_GIGAWORDS)), (Some(4_000_000_000), None));
        assert_eq!((number(ACCT_OUTPUT_PACKETS), number(ACCT_SESSION_TIME)), (Some(3), Some(61)));
        assert_eq!(number(ACCT_TERMINATE_CAUSE), Some(1));
        assert_eq!(list.attributes().each(CLASS).count(), 2);
    }

    #[test]
    fn a_start_tells_no_usage_and_an_interim_no_cause() {
        for (status, usage, cause) in [
            (StatusType::Start, false, false),
            (StatusType::InterimUpdate, true, false),
            (StatusType::Stop, true, true),
        ] {
            let nas = Nas { identifier: "gw".into(), address: Some(IpAddr::from([192, 0, 2, 2])) };
            let list = record(status).attributes(&nas).unwrap();
            assert_eq!(list.attributes().number(ACCT_SESSION_TIME).is_some(), usage);
            assert_eq!(list.attributes().number(ACCT_TERMINATE_CAUSE).is_some(), cause);
            assert_eq!(list.attributes().text(NAS_IDENTIFIER), Some("gw"));
        }
    }

    #[test]
    fn ipv6_is_told_by_address_and_prefix() {
        let at = |text: &str| text.parse::<Ipv6Addr>().unwrap();
        let inner = at("2001:db8:9:5::1");
        for (length, prefix) in [(128, None), (64, Some(&b"\0\x40\x20\x01\x0d\xb8\0\x09\0\x05"[..]))] {
            let mut record = record(StatusType::Start);
            record.subject.address6 = Some((inner, length));
            record.subject.client = Some(at("2001:db8::7").into());
            let nas = Nas { identifier: "gw".into(), address: Some(at("2001:db8::1").into()) };
            let list = record.attributes(&nas).unwrap();
            assert_eq!(list.attributes().address6(FRAMED_IPV6_ADDRESS), Some(inner));
            assert_eq!(list.attributes().first(FRAMED_IPV6_PREFIX), prefix);
            assert_eq!(list.attributes().text(CALLING_STATION_ID), Some("2001:db8::7"));
            assert_eq!(list.attributes().address6(NAS_IPV6_ADDRESS), Some(at("2001:db8::1")));
            assert!(list.attributes().first(NAS_IP_ADDRESS).is_none());
        }
    }

    #[test]
    fn the_delay_is_that_of_the_moment() {
        let mut queue = Queue::new(9);
        queue.push(StatusType::Start, 100, AttributeList::new());
        let waiting = queue.take_ready().unwrap();
        for (now, delay) in [(100, 0), (160, 60), (50, 0)] {
            assert_eq!(waiting.to_send(now).attributes().number(ACCT_DELAY_TIME), Some(delay));
        }
    }

    #[test]
    fn interims_make_room_then_starts_then_the_oldest() {
        let mut queue = Queue::new(3);
        let mut push =
            |status| queue.push(status, 0, AttributeList::new()).1.map(|one| (one.number, one.status));
        use StatusType::{InterimUpdate, Start, Stop};
        assert_eq!([push(Start), push(InterimUpdate), push(Stop)], [None; 3]);
        assert_eq!(push(Stop), Some((2, InterimUpdate)));
        assert_eq!(push(Stop), Some((1, Start)));
        assert_eq!(push(Stop), Some((3, Stop)));
        assert_eq!(
            std::iter::from_fn(|| queue.take_ready().map(|one| one.number)).collect::<Vec<_>>(),
            [4, 5, 6]
        );
    }

    #[test]
    fn what_nobody_answered_comes_before_what_was_made_later() {
        let mut queue = Queue::new(9);
        for _ in 0..3 {
            queue.push(StatusType::Stop, 0, AttributeList::new());
        }
        assert_eq!(queue.take_ready().map(|one| one.number), Some(1));
        queue.unanswered(1);
        assert_eq!(queue.take_ready().map(|one| one.number), Some(1));
        assert!(queue.acknowledged(1) && !queue.acknowledged(1));
        queue.unanswered(1);
        assert_eq!(queue.take_ready().map(|one| one.number), Some(2));
        queue.restore(Waiting {
            number: 40,
            status: StatusType::Stop,
            made_at_unix_secs: 0,
            attributes: AttributeList::new(),
        });
        assert_eq!(queue.push(StatusType::Stop, 0, AttributeList::new()).0, 41);
    }

    proptest! {
        /// A stop is dropped only where stops alone fill the queue.
        #[test]
        fn stops_outlive_the_others(kinds in proptest::collection::vec(0..3usize, 0..200), most in 1usize..20) {
            let mut queue = Queue::new(most);
            for kind in kinds {
                let status = [StatusType::Start, StatusType::InterimUpdate, StatusType::Stop][kind];
                let (_, dropped) = queue.push(status, 0, AttributeList::new());
                let others = queue.waiting.values().filter(|one| one.status != StatusType::Stop).count();
                let was_last = usize::from(status != StatusType::Stop);
                prop_assert!(dropped.is_none_or(|one| one.status != StatusType::Stop || others <= was_last));
                prop_assert!(queue.len() <= most && queue.ready.len() <= most);
            }
        }
    }
}
