//! Which address is which workload and lives where, now and when a connection began.
//!
//! An address is given to another pod soon after its pod is gone, while records of the old pod's connections still come:
//! a handshake that fails is told minutes after its first SYN, and an entry that nothing ends stays until its time-out.
//! So names that an address had are kept as long as such records may come.
//!
//! All times are this node's Unix time. A name ends, and another begins in its place, when this agent learns of it: the
//! API server's delay and the bucket's, usually well below a second. Other nodes' clocks say only how far a name
//! reaches into a past of which nothing else is known here.

mod span;

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use foldhash::fast::RandomState;
use synscope_bus::endpoint::{ENDPOINT_AGE, Endpoint};
use synscope_bus::service::{LABEL, Service};

pub use span::{Ends, Span};

/// Addresses with a name, at most: the pods of the largest clusters with two addresses each. About 100 MB.
const ADDRESSES_MAX: usize = 400_000;
/// Nodes that claim one address at once, at most: while it moves they are two.
const CLAIMS_MAX: usize = 4;
/// Former names kept, at most: at 100 new pods a second those of ten minutes; about 10 MB.
const FORMER_MAX: usize = 65_536;

/// What a node says about an address.
#[derive(Debug)]
struct Claim {
    node: Arc<str>,
    workload: Arc<str>,
    since_unix_ns: u64,
    heard_unix_ns: u64,
}

#[derive(Debug, Default)]
struct Address {
    claims: Vec<Claim>,
    /// Oldest first; only the last may last.
    spans: Vec<Span>,
}

/// Names of all nodes' workloads.
#[derive(Debug, Default)]
pub struct Names {
    node: String,
    keep_ns: u64,
    addresses: HashMap<IpAddr, Address, RandomState>,
    /// When which address's oldest former name ended, oldest first: each name that ended is in it once.
    former: VecDeque<(u64, IpAddr)>,
    refused: u64,
}

impl Names {
    /// None yet. `keep` is for how long records may ask for a name that has ended.
    pub fn new(node: &str, keep: Duration) -> Self {
        Self { node: node.to_owned(), keep_ns: nanos(keep), ..Self::default() }
    }

    /// The name that an address had at a time.
    pub fn at(&self, address: IpAddr, unix_ns: u64) -> Option<&Span> {
        let spans = &self.addresses.get(&address)?.spans;
        spans.iter().rev().find(|span| span.from_unix_ns <= unix_ns).filter(|span| unix_ns < span.until_unix_ns)
    }

    /// The workload at an address now.
    pub fn workload(&self, address: IpAddr) -> Option<&Arc<str>> {
        self.addresses.get(&address)?.lasting().map(Span::workload)
    }

    /// Both ends of a connection, as they were called when it began.
    pub fn ends(&self, client: IpAddr, server: IpAddr, unix_ns: u64) -> Ends<'_> {
        Ends { client: self.at(client, unix_ns), server: self.at(server, unix_ns) }
    }

    /// A node says who lives at an address. Where two claim it, this node's own claim wins, else who lives there for the
    /// shortest time: the other has not noticed yet.
    pub fn claim(&mut self, node: &str, address: IpAddr, endpoint: &Endpoint, now_unix_ns: u64) {
        self.forget_former(now_unix_ns);
        if self.addresses.len() >= ADDRESSES_MAX && !self.addresses.contains_key(&address) {
            self.refused += 1;
            return;
        }
        let at = self.addresses.entry(address).or_default();
        let Endpoint { workload, since_unix_ns } = endpoint;
        let is_crowded = at.claims.len() >= CLAIMS_MAX;
        match at.claims.iter_mut().find(|claim| *claim.node == *node) {
            Some(claim) => {
                if *claim.workload != **workload {
                    claim.workload = workload.as_str().into();
                }
                claim.since_unix_ns = *since_unix_ns;
                claim.heard_unix_ns = now_unix_ns;
            }
            None if is_crowded => self.refused += 1,
            None => {
                // Most addresses have one, and would have room for four.
                at.claims.reserve_exact(1);
                at.claims.push(Claim {
                    node: node.into(),
                    workload: workload.as_str().into(),
                    since_unix_ns: *since_unix_ns,
                    heard_unix_ns: now_unix_ns,
                });
            }
        }
        self.settle(address, now_unix_ns);
    }

    /// A node says that nobody of its own lives at an address any more.
    pub fn release(&mut self, node: &str, address: IpAddr, now_unix_ns: u64) {
        self.forget_former(now_unix_ns);
        if let Some(at) = self.addresses.get_mut(&address) {
            at.claims.retain(|claim| *claim.node != *node);
            self.settle(address, now_unix_ns);
        }
    }

    /// Makes a service's addresses these and no others; `before` are those that it had.
    pub fn serve(&mut self, label: &str, before: &[IpAddr], service: &Service, now_unix_ns: u64) {
        // Each service is told by itself, so that one that takes another's address over is not mixed up with it.
        for address in before.iter().filter(|address| !service.addresses.contains(address)) {
            self.release(label, *address, now_unix_ns);
        }
        let endpoint = Endpoint { workload: label.to_owned(), since_unix_ns: service.since_unix_ns };
        for address in &service.addresses {
            self.claim(label, *address, &endpoint, now_unix_ns);
        }
    }

    /// Releases what other nodes have not told again for as long as the bucket would keep it. Services stay in theirs.
    pub fn forget_silent(&mut self, now_unix_ns: u64) {
        let heard_since = now_unix_ns.saturating_sub(nanos(ENDPOINT_AGE));
        let mut changed = Vec::new();
        for (address, at) in &mut self.addresses {
            let before = at.claims.len();
            at.claims.retain(|claim| {
                let is_lasting = *claim.node == *self.node || claim.node.starts_with(LABEL);
                is_lasting || claim.heard_unix_ns >= heard_since
            });
            if at.claims.len() < before {
                changed.push(*address);
            }
        }
        for address in changed {
            self.settle(address, now_unix_ns);
        }
        self.forget_former(now_unix_ns);
    }

    /// Addresses that have or had a name.
    pub fn addresses(&self) -> usize {
        self.addresses.len()
    }

    /// Claims that there was no room for, and former names that were forgotten early.
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    /// Counts what there was no room for before it came here.
    pub const fn refuse(&mut self) {
        self.refused += 1;
    }

    /// Makes the lasting name of an address what its claims say.
    fn settle(&mut self, address: IpAddr, now_unix_ns: u64) {
        let Some(at) = self.addresses.get_mut(&address) else { return };
        let local = |claim: &Claim| *claim.node == *self.node;
        let rank = |claim: &&Claim| (local(claim), claim.since_unix_ns, Arc::clone(&claim.node));
        let winner = at.claims.iter().max_by_key(rank);
        let wanted = winner.map(|claim| (claim.workload.clone(), local(claim), claim.since_unix_ns));
        let is_so = |span: &Span| {
            wanted.as_ref().is_some_and(|(name, local, _)| span.workload == *name && span.is_local == *local)
        };
        if at.lasting().is_some_and(is_so) {
            return;
        }
        if at.lasting().is_some()
            && let Some(ending) = at.spans.last_mut()
        {
            ending.until_unix_ns = now_unix_ns;
            self.former.push_back((now_unix_ns, address));
        }
        if let Some((workload, is_local, since_unix_ns)) = wanted {
            let ended = at.spans.last().map_or(0, |former| former.until_unix_ns);
            let from_unix_ns = since_unix_ns.min(now_unix_ns).max(ended);
            if at.spans.is_empty() {
                at.spans.reserve_exact(1);
            }
            at.spans.push(Span { from_unix_ns, until_unix_ns: u64::MAX, workload, is_local });
        }
        if at.spans.is_empty() {
            self.addresses.remove(&address);
        }
    }

    /// Forgets former names that no record asks for any more, and the oldest where there are too many.
    fn forget_former(&mut self, now_unix_ns: u64) {
        while let Some((ended, address)) = self.former.front().copied() {
            let is_due = ended.saturating_add(self.keep_ns) < now_unix_ns;
            if !is_due && self.former.len() <= FORMER_MAX {
                break;
            }
            self.refused += u64::from(!is_due);
            self.former.pop_front();
            if let Some(at) = self.addresses.get_mut(&address) {
                at.spans.remove(0);
                if at.spans.is_empty() && at.claims.is_empty() {
                    self.addresses.remove(&address);
                }
            }
        }
    }
}

impl Address {
    fn lasting(&self) -> Option<&Span> {
        self.spans.last().filter(|span| span.until_unix_ns == u64::MAX)
    }
}

/// Names, shared between who learns them and who asks for them. A change takes microseconds, however many names there are.
#[derive(Clone, Debug, Default)]
pub struct Directory(Arc<RwLock<Names>>);

impl Directory {
    /// Shares them.
    pub fn new(names: Names) -> Self {
        Self(Arc::new(RwLock::new(names)))
    }

    /// Names as they are now. Nothing is learned while this is held, and other readers wait behind who wants to learn:
    /// not for long.
    pub fn read(&self) -> RwLockReadGuard<'_, Names> {
        // No code panics while it holds the lock, so a poisoned lock still guards whole names.
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes them.
    pub fn change<T>(&self, change: impl FnOnce(&mut Names) -> T) -> T {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use synscope_bus::message::flow::Vantage;

    use super::*;

    const KEEP: Duration = Duration::from_micros(1);

    fn names() -> Names {
        Names::new("a", KEEP)
    }

    fn endpoint(workload: &str, since_unix_ns: u64) -> Endpoint {
        Endpoint { workload: workload.to_owned(), since_unix_ns }
    }

    fn address(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    fn at(names: &Names, unix_ns: u64) -> Option<&str> {
        names.at(address(1), unix_ns).map(|span| &*span.workload)
    }

    #[test]
    fn the_vantage_follows_from_who_lives_here() {
        let mut names = names();
        names.claim("a", address(1), &endpoint("order", 0), 10);
        names.claim("b", address(2), &endpoint("inventory", 0), 10);
        let vantage = |client, server| names.ends(address(client), address(server), 20).vantage();
        assert_eq!([vantage(1, 2), vantage(2, 1), vantage(2, 2)], [Vantage::Client, Vantage::Server, Vantage::Transit]);
        assert_eq!(vantage(3, 3), Vantage::Transit);
    }

    #[test]
    fn an_address_is_called_as_it_was_at_that_time() {
        let mut names = names();
        names.claim("a", address(1), &endpoint("old", 100), 150);
        names.release("a", address(1), 200);
        names.claim("a", address(1), &endpoint("new", 300), 310);
        let seen = [99, 100, 199, 200, 299, 300, u64::MAX - 1].map(|unix_ns| at(&names, unix_ns));
        assert_eq!(seen, [None, Some("old"), Some("old"), None, None, Some("new"), Some("new")]);
        assert_eq!(names.workload(address(1)).map(|name| &**name), Some("new"));
    }

    /// Its clock may be wrong, and what it says of the past contradicts what was seen here.
    #[test]
    fn a_name_begins_where_the_one_before_it_ended_whatever_its_node_says() {
        let mut names = names();
        names.claim("b", address(1), &endpoint("old", 100), 150);
        names.claim("b", address(1), &endpoint("new", 120), 200);
        assert_eq!([at(&names, 199), at(&names, 200)], [Some("old"), Some("new")]);
        names.claim("b", address(1), &endpoint("newest", 900), 300);
        assert_eq!([at(&names, 299), at(&names, 300)], [Some("new"), Some("newest")], "no name is of the future");
    }

    #[test]
    fn of_two_claims_the_own_wins_else_the_later() {
        let mut names = names();
        names.claim("b", address(1), &endpoint("moved-away", 100), 100);
        names.claim("c", address(1), &endpoint("moved-here", 200), 200);
        assert_eq!(at(&names, 250), Some("moved-here"));
        names.release("b", address(1), 300);
        assert_eq!(at(&names, 350), Some("moved-here"), "who has moved away takes nothing with it");
        names.claim("a", address(1), &endpoint("own", 50), 400);
        names.claim("c", address(1), &endpoint("moved-here", 500), 500);
        assert_eq!(at(&names, 550), Some("own"));
        names.release("a", address(1), 600);
        assert_eq!([at(&names, 599), at(&names, 600)], [Some("own"), Some("moved-here")]);
    }

    #[test]
    fn what_is_told_again_changes_nothing() {
        let mut names = names();
        for now in [10, 20, 30] {
            names.claim("b", address(1), &endpoint("order", 5), now);
        }
        assert_eq!((at(&names, 5), names.former.len()), (Some("order"), 0));
        names.release("b", address(2), 40);
        assert_eq!(names.addresses(), 1);
    }

    #[test]
    fn former_names_are_forgotten_when_nothing_asks_for_them_any_more() {
        let mut names = names();
        names.claim("b", address(1), &endpoint("order", 0), 10);
        names.release("b", address(1), 20);
        names.claim("b", address(2), &endpoint("other", 0), 1020);
        assert_eq!((at(&names, 15), names.addresses()), (Some("order"), 2));
        names.claim("b", address(2), &endpoint("other", 0), 1021);
        assert_eq!((at(&names, 15), names.addresses(), names.refused()), (None, 1, 0));
    }

    #[test]
    fn what_nobody_tells_any_more_is_forgotten_but_the_own() {
        let mut names = names();
        names.claim("a", address(1), &endpoint("own", 0), 10);
        names.claim("b", address(2), &endpoint("silent", 0), 10);
        names.claim("b", address(3), &endpoint("told-again", 0), 20);
        names.serve("service/shop/cart", &[], &Service { addresses: vec![address(4)], since_unix_ns: 0 }, 10);
        names.forget_silent(10 + nanos(ENDPOINT_AGE));
        assert!(names.workload(address(2)).is_some());
        names.forget_silent(11 + nanos(ENDPOINT_AGE));
        let kept = [1, 2, 3, 4].map(|last| names.workload(address(last)).is_some());
        assert_eq!(kept, [true, false, true, true]);
    }

    #[test]
    fn an_address_goes_from_service_to_service_whichever_is_told_first() {
        let mut names = names();
        let [one, other] = ["service/shop/one", "service/shop/other"];
        let at = |last: u8, since_unix_ns| Service { addresses: vec![address(last)], since_unix_ns };
        names.serve(one, &[], &at(1, 10), 20);
        names.serve(other, &[], &at(1, 30), 40);
        names.serve(one, &[address(1)], &Service::default(), 50);
        let called = |names: &Names, last| names.workload(address(last)).map(ToString::to_string);
        assert_eq!(called(&names, 1).as_deref(), Some(other));
        names.serve(other, &[address(1)], &at(2, 30), 60);
        assert_eq!((called(&names, 1), called(&names, 2).as_deref()), (None, Some(other)));
    }

    /// A hundred pods a second for as long as names are kept, ten thousand addresses in turn.
    #[test]
    fn former_names_are_bounded_and_those_forgotten_early_counted() {
        const EARLY: u64 = 1000;
        let mut names = Names::new("a", Duration::MAX);
        let changes = FORMER_MAX as u64 + 1 + EARLY;
        for change in 0..changes {
            let address = IpAddr::from(u32::try_from(change % 10_000).unwrap().to_be_bytes());
            names.claim("b", address, &endpoint(&format!("pod-{change}"), 0), change);
            names.release("b", address, change);
        }
        assert!(names.former.len() <= FORMER_MAX + 1);
        assert_eq!((names.addresses(), names.refused()), (10_000, EARLY));
        let spans: usize = names.addresses.values().map(|at| at.spans.len()).sum();
        assert_eq!(spans, names.former.len());
    }

    #[test]
    fn addresses_are_bounded_and_those_refused_counted() {
        let mut names = names();
        for number in 0..=u32::try_from(ADDRESSES_MAX).unwrap() {
            names.claim("b", number.to_be_bytes().into(), &endpoint("order", 0), 10);
        }
        assert_eq!((names.addresses(), names.refused()), (ADDRESSES_MAX, 1));
    }
}
