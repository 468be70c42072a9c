//! The names of attributes and of their values, as the RFCs number them.
//!
//! Enters and leaves: nothing; numbers only.

/// The number of an attribute.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Attribute(pub u8);

macro_rules! attributes {
    ($($(#[$doc:meta])* $name:ident = $number:literal;)*) => {
        $($(#[$doc])* pub const $name: Attribute = Attribute($number);)*
    };
}

attributes! {
    /// RFC 2865 §5.1.
    USER_NAME = 1;
    /// RFC 2865 §5.2.
    USER_PASSWORD = 2;
    /// RFC 2865 §5.4.
    NAS_IP_ADDRESS = 4;
    /// RFC 2865 §5.5.
    NAS_PORT = 5;
    /// RFC 2865 §5.6.
    SERVICE_TYPE = 6;
    /// RFC 2865 §5.8.
    FRAMED_IP_ADDRESS = 8;
    /// RFC 2865 §5.9.
    FRAMED_IP_NETMASK = 9;
    /// RFC 2865 §5.11.
    FILTER_ID = 11;
    /// RFC 2865 §5.12; in an Access-Request a hint for the server's EAP fragments (RFC 3579 §2.4).
    FRAMED_MTU = 12;
    /// RFC 2865 §5.18.
    REPLY_MESSAGE = 18;
    /// RFC 2865 §5.22.
    FRAMED_ROUTE = 22;
    /// RFC 2865 §5.24.
    STATE = 24;
    /// RFC 2865 §5.25.
    CLASS = 25;
    /// RFC 2865 §5.26.
    VENDOR_SPECIFIC = 26;
    /// RFC 2865 §5.27, seconds.
    SESSION_TIMEOUT = 27;
    /// RFC 2865 §5.28, seconds.
    IDLE_TIMEOUT = 28;
    /// RFC 2865 §5.30.
    CALLED_STATION_ID = 30;
    /// RFC 2865 §5.31.
    CALLING_STATION_ID = 31;
    /// RFC 2865 §5.32.
    NAS_IDENTIFIER = 32;
    /// RFC 2865 §5.33.
    PROXY_STATE = 33;
    /// RFC 2866 §5.1.
    ACCT_STATUS_TYPE = 40;
    /// RFC 2866 §5.2, seconds.
    ACCT_DELAY_TIME = 41;
    /// RFC 2866 §5.3, from the client.
    ACCT_INPUT_OCTETS = 42;
    /// RFC 2866 §5.4, to the client.
    ACCT_OUTPUT_OCTETS = 43;
    /// RFC 2866 §5.5.
    ACCT_SESSION_ID = 44;
    /// RFC 2866 §5.6.
    ACCT_AUTHENTIC = 45;
    /// RFC 2866 §5.7, seconds.
    ACCT_SESSION_TIME = 46;
    /// RFC 2866 §5.8, from the client.
    ACCT_INPUT_PACKETS = 47;
    /// RFC 2866 §5.9, to the client.
    ACCT_OUTPUT_PACKETS = 48;
    /// RFC 2866 §5.10.
    ACCT_TERMINATE_CAUSE = 49;
    /// RFC 2869 §5.1: the high half of the octets.
    ACCT_INPUT_GIGAWORDS = 52;
    /// RFC 2869 §5.2.
    ACCT_OUTPUT_GIGAWORDS = 53;
    /// RFC 2869 §5.3, seconds since 1970.
    EVENT_TIMESTAMP = 55;
    /// RFC 2865 §5.41.
    NAS_PORT_TYPE = 61;
    /// RFC 2868 §3.3, tagged.
    TUNNEL_CLIENT_ENDPOINT = 66;
    /// RFC 3579 §3.1.
    EAP_MESSAGE = 79;
    /// RFC 3579 §3.2.
    MESSAGE_AUTHENTICATOR = 80;
    /// RFC 2869 §5.16, seconds.
    ACCT_INTERIM_INTERVAL = 85;
    /// RFC 2869 §5.17.
    NAS_PORT_ID = 87;
    /// RFC 2869 §5.18.
    FRAMED_POOL = 88;
    /// RFC 3162 §2.1.
    NAS_IPV6_ADDRESS = 95;
    /// RFC 3162 §2.3.
    FRAMED_IPV6_PREFIX = 97;
    /// RFC 3162 §2.5.
    FRAMED_IPV6_ROUTE = 99;
    /// RFC 3162 §2.6.
    FRAMED_IPV6_POOL = 100;
    /// RFC 5176 §3.5.
    ERROR_CAUSE = 101;
    /// RFC 4818 §3.
    DELEGATED_IPV6_PREFIX = 123;
    /// RFC 6911 §3.1.
    FRAMED_IPV6_ADDRESS = 168;
    /// RFC 6911 §3.2.
    DNS_SERVER_IPV6_ADDRESS = 169;
    /// RFC 6911 §3.3.
    ROUTE_IPV6_INFORMATION = 170;
    /// RFC 6911 §3.5.
    STATEFUL_IPV6_ADDRESS_POOL = 172;
}

/// SMI number of Cisco.
pub const CISCO: u32 = 9;
/// `cisco-avpair`.
pub const CISCO_AVPAIR: u8 = 1;
/// SMI number of Microsoft.
pub const MICROSOFT: u32 = 311;
/// RFC 2548 §2.4.2.
pub const MS_MPPE_SEND_KEY: u8 = 16;
/// RFC 2548 §2.4.3.
pub const MS_MPPE_RECV_KEY: u8 = 17;
/// RFC 2548 §2.7.1.
pub const MS_PRIMARY_DNS_SERVER: u8 = 28;
/// RFC 2548 §2.7.2.
pub const MS_SECONDARY_DNS_SERVER: u8 = 29;

/// Service-Type Framed.
pub const SERVICE_FRAMED: u32 = 2;
/// NAS-Port-Type Virtual.
pub const PORT_VIRTUAL: u32 = 5;

/// Acct-Status-Type (RFC 2866 §5.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum StatusType {
    /// A session began.
    Start = 1,
    /// It is over.
    Stop = 2,
    /// It goes on.
    InterimUpdate = 3,
    /// The gateway began.
    AccountingOn = 7,
    /// The gateway stops.
    AccountingOff = 8,
}

/// Acct-Terminate-Cause (RFC 2866 §5.10).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum TerminateCause {
    /// The client said goodbye.
    UserRequest = 1,
    /// The client fell silent.
    LostCarrier = 2,
    /// Nothing was carried for too long.
    IdleTimeout = 4,
    /// It lasted as long as it may.
    SessionTimeout = 5,
    /// An operator or a RADIUS server ended it.
    AdminReset = 6,
    /// The gateway stops.
    AdminReboot = 7,
    /// Something of ours failed.
    NasError = 9,
    /// The gateway asked for it, for no error.
    NasRequest = 10,
    /// The gateway was killed and has forgotten it.
    NasReboot = 11,
    /// Something else needed its place.
    PortPreempted = 13,
}

impl TerminateCause {
    /// As RFC 2866 §5.10 calls it.
    pub fn name(self) -> &'static str {
        match self {
            TerminateCause::UserRequest => "User-Request",
            TerminateCause::LostCarrier => "Lost-Carrier",
            TerminateCause::IdleTimeout => "Idle-Timeout",
            TerminateCause::SessionTimeout => "Session-Timeout",
            TerminateCause::AdminReset => "Admin-Reset",
            TerminateCause::AdminReboot => "Admin-Reboot",
            TerminateCause::NasError => "NAS-Error",
            TerminateCause::NasRequest => "NAS-Request",
            TerminateCause::NasReboot => "NAS-Reboot",
            TerminateCause::PortPreempted => "Port-Preempted",
        }
    }
}

/// Acct-Authentic (RFC 2866 §5.6).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Authentic {
    /// A RADIUS server said who it is.
    Radius = 1,
    /// The gateway found out itself.
    Local = 2,
}

/// Error-Cause (RFC 5176 §3.5).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ErrorCause {
    /// An attribute that cannot be changed.
    UnsupportedAttribute = 401,
    /// Nothing names a session, or nothing is to be changed.
    MissingAttribute = 402,
    /// The request is for another gateway.
    NasIdentificationMismatch = 403,
    /// An attribute's value makes no sense.
    InvalidRequest = 404,
    /// A value that is out of bounds.
    InvalidAttributeValue = 407,
    /// Switched off here.
    AdministrativelyProhibited = 501,
    /// No session has these attributes.
    SessionContextNotFound = 503,
    /// It is there and could not be removed.
    SessionContextNotRemovable = 504,
    /// Too busy.
    ResourcesUnavailable = 506,
}
