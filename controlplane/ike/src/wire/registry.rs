//! The IANA registries of IKEv2 that this implementation names (RFC 7296 §3 and later RFCs).

use super::codec::registry;

registry! {
    /// Exchange types (RFC 7296 §3.1).
    ExchangeType: u8 {
        IkeSaInit = 34, "IKE_SA_INIT";
        IkeAuth = 35, "IKE_AUTH";
        CreateChildSa = 36, "CREATE_CHILD_SA";
        Informational = 37, "INFORMATIONAL";
        IkeSessionResume = 38, "IKE_SESSION_RESUME";
        IkeIntermediate = 43, "IKE_INTERMEDIATE";
        IkeFollowupKe = 44, "IKE_FOLLOWUP_KE";
    }
}

registry! {
    /// Payload types (RFC 7296 §3.2).
    PayloadType: u8 {
        None = 0, "none";
        Sa = 33, "SA";
        Ke = 34, "KE";
        IdI = 35, "IDi";
        IdR = 36, "IDr";
        Cert = 37, "CERT";
        CertReq = 38, "CERTREQ";
        Auth = 39, "AUTH";
        Nonce = 40, "Nonce";
        Notify = 41, "N";
        Delete = 42, "D";
        Vendor = 43, "V";
        TsI = 44, "TSi";
        TsR = 45, "TSr";
        Sk = 46, "SK";
        Cp = 47, "CP";
        Eap = 48, "EAP";
        Skf = 53, "SKF";
    }
}

registry! {
    /// Security protocols (RFC 7296 §3.3.1).
    ProtocolId: u8 {
        None = 0, "none";
        Ike = 1, "IKE";
        Ah = 2, "AH";
        Esp = 3, "ESP";
    }
}

registry! {
    /// Transform types (RFC 7296 §3.3.2, RFC 9370 §3).
    TransformType: u8 {
        Encr = 1, "ENCR";
        Prf = 2, "PRF";
        Integ = 3, "INTEG";
        Dh = 4, "KE";
        Esn = 5, "ESN";
        AddKe1 = 6, "ADDKE1";
        AddKe2 = 7, "ADDKE2";
        AddKe3 = 8, "ADDKE3";
        AddKe4 = 9, "ADDKE4";
        AddKe5 = 10, "ADDKE5";
        AddKe6 = 11, "ADDKE6";
        AddKe7 = 12, "ADDKE7";
    }
}

registry! {
    /// Authentication methods (RFC 7296 §3.8, RFC 4754, RFC 7619, RFC 7427).
    AuthMethod: u8 {
        RsaSignature = 1, "RSA signature";
        SharedKey = 2, "shared key";
        DssSignature = 3, "DSS signature";
        EcdsaSha256P256 = 9, "ECDSA SHA-256 P-256";
        EcdsaSha384P384 = 10, "ECDSA SHA-384 P-384";
        EcdsaSha512P521 = 11, "ECDSA SHA-512 P-521";
        GenericSecurePassword = 12, "generic secure password";
        Null = 13, "NULL";
        DigitalSignature = 14, "digital signature";
    }
}

registry! {
    /// Certificate encodings (RFC 7296 §3.6).
    CertEncoding: u8 {
        Pkcs7 = 1, "PKCS #7";
        X509Signature = 4, "X.509 signature";
        Crl = 7, "CRL";
        HashAndUrlX509 = 12, "hash and URL of X.509";
        HashAndUrlBundle = 13, "hash and URL of bundle";
        OcspContent = 14, "OCSP content";
        RawPublicKey = 15, "raw public key";
    }
}

registry! {
    /// Hash algorithms of SIGNATURE_HASH_ALGORITHMS (RFC 7427 §4, RFC 8420).
    SignatureHash: u16 {
        Sha1 = 1, "SHA1";
        Sha2_256 = 2, "SHA2-256";
        Sha2_384 = 3, "SHA2-384";
        Sha2_512 = 4, "SHA2-512";
        Identity = 5, "identity";
    }
}

registry! {
    /// Kinds of configuration payload (RFC 7296 §3.15).
    CfgType: u8 {
        Request = 1, "CFG_REQUEST";
        Reply = 2, "CFG_REPLY";
        Set = 3, "CFG_SET";
        Ack = 4, "CFG_ACK";
    }
}

registry! {
    /// Configuration attributes (RFC 7296 §3.15.1, RFC 8598 and vendors').
    CfgAttributeType: u16 {
        InternalIp4Address = 1, "INTERNAL_IP4_ADDRESS";
        InternalIp4Netmask = 2, "INTERNAL_IP4_NETMASK";
        InternalIp4Dns = 3, "INTERNAL_IP4_DNS";
        InternalIp4Nbns = 4, "INTERNAL_IP4_NBNS";
        InternalIp4Dhcp = 6, "INTERNAL_IP4_DHCP";
        ApplicationVersion = 7, "APPLICATION_VERSION";
        InternalIp6Address = 8, "INTERNAL_IP6_ADDRESS";
        InternalIp6Dns = 10, "INTERNAL_IP6_DNS";
        InternalIp6Dhcp = 12, "INTERNAL_IP6_DHCP";
        InternalIp4Subnet = 13, "INTERNAL_IP4_SUBNET";
        SupportedAttributes = 14, "SUPPORTED_ATTRIBUTES";
        InternalIp6Subnet = 15, "INTERNAL_IP6_SUBNET";
        Mip6HomePrefix = 16, "MIP6_HOME_PREFIX";
        InternalIp6Link = 17, "INTERNAL_IP6_LINK";
        InternalIp6Prefix = 18, "INTERNAL_IP6_PREFIX";
        HomeAgentAddress = 19, "HOME_AGENT_ADDRESS";
        PCscfIp4Address = 20, "P_CSCF_IP4_ADDRESS";
        PCscfIp6Address = 21, "P_CSCF_IP6_ADDRESS";
        FttKat = 22, "FTT_KAT";
        ExternalSourceIp4NatInfo = 23, "EXTERNAL_SOURCE_IP4_NAT_INFO";
        TimeoutPeriodForLivenessCheck = 24, "TIMEOUT_PERIOD_FOR_LIVENESS_CHECK";
        InternalDnsDomain = 25, "INTERNAL_DNS_DOMAIN";
        InternalDnssecTa = 26, "INTERNAL_DNSSEC_TA";
        InternalIp4Server = 23456, "INTERNAL_IP4_SERVER";
        InternalIp6Server = 23457, "INTERNAL_IP6_SERVER";
        UnityBanner = 28672, "UNITY_BANNER";
        UnitySavePassword = 28673, "UNITY_SAVE_PASSWORD";
        UnityDefDomain = 28674, "UNITY_DEF_DOMAIN";
        UnitySplitDnsName = 28675, "UNITY_SPLITDNS_NAME";
        UnitySplitInclude = 28676, "UNITY_SPLIT_INCLUDE";
        UnityNattPort = 28677, "UNITY_NATT_PORT";
        UnityLocalLan = 28678, "UNITY_LOCAL_LAN";
        UnityPfs = 28679, "UNITY_PFS";
        UnityFwType = 28680, "UNITY_FW_TYPE";
        UnityBackupServers = 28681, "UNITY_BACKUP_SERVERS";
        UnityDdnsHostname = 28682, "UNITY_DDNS_HOSTNAME";
    }
}

registry! {
    /// Notify message types (RFC 7296 §3.10.1 and later RFCs).
    NotifyType: u16 {
        UnsupportedCriticalPayload = 1, "UNSUPPORTED_CRITICAL_PAYLOAD";
        InvalidIkeSpi = 4, "INVALID_IKE_SPI";
        InvalidMajorVersion = 5, "INVALID_MAJOR_VERSION";
        InvalidSyntax = 7, "INVALID_SYNTAX";
        InvalidMessageId = 9, "INVALID_MESSAGE_ID";
        InvalidSpi = 11, "INVALID_SPI";
        NoProposalChosen = 14, "NO_PROPOSAL_CHOSEN";
        InvalidKePayload = 17, "INVALID_KE_PAYLOAD";
        AuthenticationFailed = 24, "AUTHENTICATION_FAILED";
        SinglePairRequired = 34, "SINGLE_PAIR_REQUIRED";
        NoAdditionalSas = 35, "NO_ADDITIONAL_SAS";
        InternalAddressFailure = 36, "INTERNAL_ADDRESS_FAILURE";
        FailedCpRequired = 37, "FAILED_CP_REQUIRED";
        TsUnacceptable = 38, "TS_UNACCEPTABLE";
        InvalidSelectors = 39, "INVALID_SELECTORS";
        UnacceptableAddresses = 40, "UNACCEPTABLE_ADDRESSES";
        UnexpectedNatDetected = 41, "UNEXPECTED_NAT_DETECTED";
        UseAssignedHoA = 42, "USE_ASSIGNED_HoA";
        TemporaryFailure = 43, "TEMPORARY_FAILURE";
        ChildSaNotFound = 44, "CHILD_SA_NOT_FOUND";
        InvalidGroupId = 45, "INVALID_GROUP_ID";
        AuthorizationFailed = 46, "AUTHORIZATION_FAILED";
        StateNotFound = 47, "STATE_NOT_FOUND";
        TsMaxQueue = 48, "TS_MAX_QUEUE";
        MsInvalidSituation = 12345, "MS_INVALID_SITUATION";
        InitialContact = 16384, "INITIAL_CONTACT";
        SetWindowSize = 16385, "SET_WINDOW_SIZE";
        AdditionalTsPossible = 16386, "ADDITIONAL_TS_POSSIBLE";
        IpcompSupported = 16387, "IPCOMP_SUPPORTED";
        NatDetectionSourceIp = 16388, "NAT_DETECTION_SOURCE_IP";
        NatDetectionDestinationIp = 16389, "NAT_DETECTION_DESTINATION_IP";
        Cookie = 16390, "COOKIE";
        UseTransportMode = 16391, "USE_TRANSPORT_MODE";
        HttpCertLookupSupported = 16392, "HTTP_CERT_LOOKUP_SUPPORTED";
        RekeySa = 16393, "REKEY_SA";
        EspTfcPaddingNotSupported = 16394, "ESP_TFC_PADDING_NOT_SUPPORTED";
        NonFirstFragmentsAlso = 16395, "NON_FIRST_FRAGMENTS_ALSO";
        MobikeSupported = 16396, "MOBIKE_SUPPORTED";
        AdditionalIp4Address = 16397, "ADDITIONAL_IP4_ADDRESS";
        AdditionalIp6Address = 16398, "ADDITIONAL_IP6_ADDRESS";
        NoAdditionalAddresses = 16399, "NO_ADDITIONAL_ADDRESSES";
        UpdateSaAddresses = 16400, "UPDATE_SA_ADDRESSES";
        Cookie2 = 16401, "COOKIE2";
        NoNatsAllowed = 16402, "NO_NATS_ALLOWED";
        AuthLifetime = 16403, "AUTH_LIFETIME";
        MultipleAuthSupported = 16404, "MULTIPLE_AUTH_SUPPORTED";
        AnotherAuthFollows = 16405, "ANOTHER_AUTH_FOLLOWS";
        RedirectSupported = 16406, "REDIRECT_SUPPORTED";
        Redirect = 16407, "REDIRECT";
        RedirectedFrom = 16408, "REDIRECTED_FROM";
        TicketLtOpaque = 16409, "TICKET_LT_OPAQUE";
        TicketRequest = 16410, "TICKET_REQUEST";
        TicketAck = 16411, "TICKET_ACK";
        TicketNack = 16412, "TICKET_NACK";
        TicketOpaque = 16413, "TICKET_OPAQUE";
        LinkId = 16414, "LINK_ID";
        UseWespMode = 16415, "USE_WESP_MODE";
        RohcSupported = 16416, "ROHC_SUPPORTED";
        EapOnlyAuthentication = 16417, "EAP_ONLY_AUTHENTICATION";
        ChildlessIkev2Supported = 16418, "CHILDLESS_IKEV2_SUPPORTED";
        QuickCrashDetection = 16419, "QUICK_CRASH_DETECTION";
        Ikev2MessageIdSyncSupported = 16420, "IKEV2_MESSAGE_ID_SYNC_SUPPORTED";
        IpsecReplayCounterSyncSupported = 16421, "IPSEC_REPLAY_COUNTER_SYNC_SUPPORTED";
        Ikev2MessageIdSync = 16422, "IKEV2_MESSAGE_ID_SYNC";
        IpsecReplayCounterSync = 16423, "IPSEC_REPLAY_COUNTER_SYNC";
        SecurePasswordMethods = 16424, "SECURE_PASSWORD_METHODS";
        PskPersist = 16425, "PSK_PERSIST";
        PskConfirm = 16426, "PSK_CONFIRM";
        ErxSupported = 16427, "ERX_SUPPORTED";
        IfomCapability = 16428, "IFOM_CAPABILITY";
        SenderRequestId = 16429, "SENDER_REQUEST_ID";
        FragmentationSupported = 16430, "IKEV2_FRAGMENTATION_SUPPORTED";
        SignatureHashAlgorithms = 16431, "SIGNATURE_HASH_ALGORITHMS";
        CloneIkeSaSupported = 16432, "CLONE_IKE_SA_SUPPORTED";
        CloneIkeSa = 16433, "CLONE_IKE_SA";
        Puzzle = 16434, "PUZZLE";
        UsePpk = 16435, "USE_PPK";
        PpkIdentity = 16436, "PPK_IDENTITY";
        NoPpkAuth = 16437, "NO_PPK_AUTH";
        IntermediateExchangeSupported = 16438, "INTERMEDIATE_EXCHANGE_SUPPORTED";
        Ip4Allowed = 16439, "IP4_ALLOWED";
        Ip6Allowed = 16440, "IP6_ALLOWED";
        AdditionalKeyExchange = 16441, "ADDITIONAL_KEY_EXCHANGE";
        UseAggfrag = 16442, "USE_AGGFRAG";
        SupportedAuthMethods = 16443, "SUPPORTED_AUTH_METHODS";
        SaResourceInfo = 16444, "SA_RESOURCE_INFO";
    }
}

impl NotifyType {
    /// Whether it reports an error (numbers below 16384, RFC 7296 §3.10.1).
    pub fn is_error(self) -> bool {
        self.number() < 16384
    }
}
