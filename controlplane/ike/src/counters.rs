//! Every counter of the IKE endpoint, declared once: stable name, meaning, and what an operator should do about it.
//!
//! Enters: one [`IkeCounter`] per countable moment. Leaves: totals for `GET /v1/counters` and metrics.

macro_rules! ike_counters {
    ($(#[doc = $doc:literal] $variant:ident = $name:literal, remedy $remedy:literal;)+) => {
        /// What is counted.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(usize)]
        pub enum IkeCounter { $(#[doc = $doc] $variant,)+ }

        impl IkeCounter {
            /// Every counter, in the order of this file.
            pub const ALL: &'static [IkeCounter] = &[$(IkeCounter::$variant,)+];

            /// The stable name, used in the API, metrics and logs.
            pub fn name(self) -> &'static str { match self { $(IkeCounter::$variant => $name,)+ } }

            /// What it counts.
            pub fn meaning(self) -> &'static str { match self { $(IkeCounter::$variant => $doc.trim_ascii(),)+ } }

            /// What an operator should do when it grows; empty when growth is normal.
            pub fn remedy(self) -> &'static str { match self { $(IkeCounter::$variant => $remedy,)+ } }
        }
    };
}

ike_counters! {
    /// IKE datagrams received.
    DatagramsIn = "ike_datagrams_in", remedy "";
    /// IKE datagrams sent.
    DatagramsOut = "ike_datagrams_out", remedy "";
    /// Datagrams dropped because they are no IKE message.
    DropMalformed = "ike_drop_malformed", remedy "Port scanners cause this; if it grows fast, filter the source.";
    /// Messages dropped because their integrity check failed.
    DropIntegrity = "ike_drop_integrity", remedy "Corruption on the path or forged messages; look at the source.";
    /// Messages dropped because their message ID is outside the window.
    DropWindow = "ike_drop_window", remedy "";
    /// Messages dropped because no IKE SA has their SPIs.
    DropUnknownSpi = "ike_drop_unknown_spi", remedy "Clients that outlived a restart of the gateway cause this.";
    /// Messages dropped because their exchange is not allowed in the state of their IKE SA.
    DropWrongState = "ike_drop_wrong_state", remedy "A client that does this is broken or hostile.";
    /// Messages dropped because they are not protected though they must be.
    DropUnprotected = "ike_drop_unprotected", remedy "";
    /// Requests dropped because a request of the same IKE SA is still being worked on.
    DropBusy = "ike_drop_busy", remedy "";
    /// Messages dropped because the endpoint is shutting down.
    DropShutdown = "ike_drop_shutdown", remedy "";
    /// IKE_SA_INIT requests dropped because a limit of half-open IKE SAs is reached.
    DropHalfOpenLimit = "ike_drop_half_open_limit", remedy "Raise ike.half_open_max, or find who floods.";
    /// IKE_SA_INIT requests dropped because one source has too many half-open IKE SAs.
    DropSourceLimit = "ike_drop_source_limit", remedy "Many clients behind one NAT, or one that floods.";
    /// IKE_SA_INIT requests dropped because the table of sessions is full.
    DropSessionLimit = "ike_drop_session_limit", remedy "This gateway is full; add another.";
    /// Fragments dropped by a bound of RFC 7383 reassembly.
    DropFragment = "ike_drop_fragment", remedy "";
    /// Requests answered again from the cache because they came again.
    RetransmitsAnswered = "ike_retransmits_answered", remedy "";
    /// Requests of ours sent again.
    RetransmitsSent = "ike_retransmits_sent", remedy "";
    /// IKE_SA_INIT requests that were sent a cookie.
    CookiesSent = "ike_cookies_sent", remedy "More half-open IKE SAs than ike.cookie_threshold: a rush or a flood.";
    /// IKE_SA_INIT requests with a wrong or old cookie.
    CookiesWrong = "ike_cookies_wrong", remedy "";
    /// IKE_SA_INIT requests sent back with INVALID_KE_PAYLOAD.
    InvalidKe = "ike_invalid_ke", remedy "Costs clients a round trip: put the group they try first into ike.proposals.";
    /// Handshakes begun (IKE_SA_INIT accepted).
    HandshakesBegun = "ike_handshakes_begun", remedy "";
    /// Additional key exchanges (ML-KEM) done.
    AdditionalKeyExchanges = "ike_additional_key_exchanges", remedy "";
    /// Handshakes that led to a session.
    HandshakesDone = "ike_handshakes_done", remedy "";
    /// Handshakes that were not finished in time.
    HandshakeTimeout = "ike_handshake_timeout", remedy "Clients give up or cannot reach us on UDP 4500.";
    /// Handshakes that we ended: the client's next attempt took their place, we stopped, or a fault of ours.
    HandshakesAbandoned = "ike_handshakes_abandoned", remedy "";
    /// Handshakes refused: no common IKE proposal.
    IkeNoProposal = "ike_no_proposal_chosen", remedy "Compare ike.proposals with what the clients offer.";
    /// Authentications failed: unknown identity, wrong key, signature or password.
    AuthFailed = "ike_auth_failed", remedy "Wrong credentials, or somebody who guesses.";
    /// Authentications failed: the token of a session was used that is not in force any more.
    TokensReplayed = "ike_tokens_replayed", remedy "Somebody may have copied a client's token; see the event log.";
    /// Tickets given to clients (RFC 5723).
    TicketsMade = "ike_tickets_made", remedy "";
    /// Clients that asked for a ticket and got none, or none yet.
    TicketsWithheld = "ike_tickets_withheld", remedy "";
    /// Sessions resumed by a ticket.
    TicketsUsed = "ike_tickets_used", remedy "";
    /// Tickets refused: used, expired, or not ours.
    TicketsRefused = "ike_tickets_refused", remedy "Clients that come too late log in anew; somebody may be guessing.";
    /// Authentications failed: the client's certificate does not hold.
    CertificateRefused = "ike_certificate_refused", remedy "Expired, revoked, or not signed by auth.client_ca_file; the log says which.";
    /// Authentications refused: the method is switched off.
    MethodRefused = "ike_method_refused", remedy "Compare auth.methods with the client's settings.";
    /// Authentications refused: no post-quantum pre-shared key (PPK, RFC 8784), or one that the client may not use here.
    PpkRefused = "ike_ppk_refused", remedy "Compare auth.ppk_required and [[auth.ppk]] with the client's settings.";
    /// Sessions whose keys depend on a PPK.
    PpkUsed = "ike_ppk_used", remedy "";
    /// Sessions of clients that announced PPKs but named one that is not theirs, and went on without.
    PpkDeclined = "ike_ppk_declined", remedy "Compare the id and identity in [[auth.ppk]] with the client's.";
    /// Authentications refused: the client asked for another gateway identity.
    IdrRefused = "ike_idr_refused", remedy "The client's remote id differs from gateway.identity.";
    /// Child SAs refused: no common ESP proposal.
    ChildNoProposal = "ike_child_no_proposal", remedy "Compare esp.suites with what the clients offer.";
    /// Child SAs refused: no common traffic selectors.
    TsUnacceptable = "ike_ts_unacceptable", remedy "Compare the pool's subnets with the client's settings.";
    /// Child SAs refused: no inner address could be given.
    AddressFailure = "ike_address_failure", remedy "Enlarge the pool.";
    /// Child SAs refused: the client did not ask for an inner address.
    CpRequired = "ike_cp_required", remedy "Let the client ask for a virtual address.";
    /// Child SAs refused: more than one session may have.
    NoAdditionalSas = "ike_no_additional_sas", remedy "";
    /// Requests refused with TEMPORARY_FAILURE.
    TemporaryFailure = "ike_temporary_failure", remedy "";
    /// Rekeys of Child SAs done.
    ChildRekeys = "ike_child_rekeys", remedy "";
    /// Rekeys of IKE SAs done.
    IkeRekeys = "ike_ike_rekeys", remedy "";
    /// Simultaneous rekeys resolved (RFC 7296 §2.8.1, §2.8.2).
    RekeyCollisions = "ike_rekey_collisions", remedy "";
    /// Rekeys of ours that the peer refused or that failed.
    RekeyFailed = "ike_rekey_failed", remedy "";
    /// Messages of authenticated peers that break the protocol.
    PeerMisbehaved = "ike_peer_misbehaved", remedy "Note the client's version and report it.";
    /// Sessions ended because the peer did not answer.
    PeersDead = "ike_peers_dead", remedy "";
    /// Sessions deleted by the peer.
    PeerDeletes = "ike_peer_deletes", remedy "";
    /// Clients that were sent to another gateway (REDIRECT).
    Redirects = "ike_redirects", remedy "";
    /// Clients that moved to another address (MOBIKE).
    AddressUpdates = "ike_address_updates", remedy "";
    /// Moves refused because the client wrote to another address of ours.
    AddressesRefused = "ike_addresses_refused", remedy "";
    /// Logins and moves refused because a NAT changed addresses that the client had protected (NO_NATS_ALLOWED).
    UnexpectedNat = "ike_unexpected_nat", remedy "Let these clients use NAT traversal, or remove the NAT.";
    /// Sessions ended because the client's answer to a return routability check was wrong.
    RoutabilityFailed = "ike_routability_failed", remedy "A client that does this is broken or hostile.";
    /// Jobs that could not be done or came too late.
    JobsFailed = "ike_jobs_failed", remedy "The gateway is overloaded or a back end is down.";
    /// Faults of the endpoint itself.
    InternalErrors = "ike_internal_errors", remedy "Please report this with the log.";
}

/// Totals since start.
#[derive(Clone, Debug)]
pub struct IkeCounters {
    totals: [u64; IkeCounter::ALL.len()],
}

impl Default for IkeCounters {
    fn default() -> IkeCounters {
        IkeCounters { totals: [0; IkeCounter::ALL.len()] }
    }
}

impl IkeCounters {
    /// The total of one counter.
    pub fn get(&self, counter: IkeCounter) -> u64 {
        self.totals.get(counter as usize).copied().unwrap_or(0)
    }

    /// Every counter with its total.
    pub fn iter(&self) -> impl Iterator<Item = (IkeCounter, u64)> + '_ {
        IkeCounter::ALL.iter().map(|counter| (*counter, self.get(*counter)))
    }

    pub(crate) fn bump(&mut self, counter: IkeCounter) {
        self.add(counter, 1);
    }

    pub(crate) fn add(&mut self, counter: IkeCounter, amount: u64) {
        if let Some(total) = self.totals.get_mut(counter as usize) {
            *total = total.saturating_add(amount);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_totals_add_up() {
        let mut names: Vec<_> = IkeCounter::ALL.iter().map(|c| c.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), IkeCounter::ALL.len());
        let mut counters = IkeCounters::default();
        counters.bump(IkeCounter::InternalErrors);
        counters.add(IkeCounter::InternalErrors, 2);
        assert_eq!(counters.get(IkeCounter::InternalErrors), 3);
        assert_eq!(counters.iter().map(|(_, total)| total).sum::<u64>(), 3);
    }
}
