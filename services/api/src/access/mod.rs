//! Who may do what. Without tokens everything may be done, by who is on this machine; with them, nothing may without one
//! but to ask whether the service lives.

pub mod audit;
mod guard;
mod rate;
pub mod serve;
pub mod tokens;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::http::{HeaderMap, header};
use serde::{Deserialize, Serialize};

pub(crate) use guard::{Door, guard};
use rate::Rate;
use tokens::Tokens;

use crate::problem::Problem;
use crate::settings::Settings;

/// What a route needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Nothing: whether the service lives, anyone may know.
    Nothing,
    /// To read.
    Read,
    /// To start and end curated probes.
    Trace,
    /// To start scripts of one's own, which can read the kernel's memory.
    Script,
    /// To apply fixes and change desired state.
    Change,
}

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Reads, and starts curated probes.
    Tracer,
    /// Reads, and starts curated probes and scripts.
    TracerScript,
    /// Reads, applies fixes and changes desired state.
    Operator,
}

impl Role {
    /// Whether the role has the right.
    const fn has(self, right: Right) -> bool {
        match right {
            Right::Nothing | Right::Read => true,
            Right::Trace => matches!(self, Self::Tracer | Self::TracerScript),
            Right::Script => matches!(self, Self::TracerScript),
            Right::Change => matches!(self, Self::Operator),
        }
    }
}

impl Right {
    /// The role that has it, in the words of the configuration; none where none is needed.
    pub const fn role(self) -> Option<&'static str> {
        match self {
            Self::Nothing => None,
            Self::Read => Some("viewer"),
            Self::Trace => Some("tracer"),
            Self::Script => Some("tracer-script"),
            Self::Change => Some("operator"),
        }
    }
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    /// The token's name; none where none was shown.
    pub name: Option<String>,
    /// The token's roles; none where no tokens are configured: then everything may be done.
    roles: Option<Vec<Role>>,
}

impl Who {
    /// Anyone: what needs no right is all they may do.
    const fn anyone() -> Self {
        Self { name: None, roles: Some(Vec::new()) }
    }

    /// Refuses what none of the roles has.
    pub fn may(&self, right: Right) -> Result<(), Problem> {
        let has = |roles: &Vec<Role>| roles.iter().any(|role| role.has(right));
        if right == Right::Nothing || self.roles.as_ref().is_none_or(has) {
            return Ok(());
        }
        let (name, role) = (self.name.as_deref().unwrap_or_default(), right.role().unwrap_or_default());
        Err(Problem::forbidden(format!("the token {name:?} has not the role {role:?} that this needs")))
    }
}

/// Why the service cannot be opened as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// Others could reach it, and nothing would hold them back.
    #[error(
        "configuration key \"listen\": without \"tokens\" only a loopback address can be listened on, not {0}; \
         `synscope-api token NAME --role viewer` makes one"
    )]
    Open(SocketAddr),
    /// The tokens cannot be read.
    #[error(transparent)]
    Tokens(#[from] tokens::TokensError),
}

/// Who may do what, and how often.
#[derive(Debug)]
pub struct Access {
    tokens: Option<Tokens>,
    rate: Rate,
}

impl Access {
    /// As it is configured.
    pub fn new(settings: &Settings) -> Result<Arc<Self>, AccessError> {
        let tokens = settings.tokens.as_deref().map(Tokens::read).transpose()?;
        if tokens.is_none() && !settings.listen.ip().is_loopback() {
            return Err(AccessError::Open(settings.listen));
        }
        Ok(Arc::new(Self { tokens, rate: Rate::new(settings.requests_per_second, settings.requests_at_once) }))
    }

    /// Who makes a request that needs some right; a problem where nobody may.
    fn identify(&self, headers: &HeaderMap, from: IpAddr) -> Result<Who, Problem> {
        self.rate.take(from)?;
        let Some(tokens) = &self.tokens else {
            names_this_machine(headers)?;
            return Ok(Who { name: None, roles: None });
        };
        let shown = shown(headers).ok_or_else(|| Problem::unauthorized("a token is needed"))?;
        let (name, roles) = tokens.find(&shown).ok_or_else(|| Problem::unauthorized("nobody knows this token"))?;
        Ok(Who { name: Some(name.to_owned()), roles: Some(roles.to_vec()) })
    }

    /// Forgets who has not asked for long.
    pub fn forget(&self) {
        self.rate.forget();
    }
}

/// The token in `Authorization`: a bearer's, or a password, for browsers ask people for one by themselves.
fn shown(headers: &HeaderMap) -> Option<String> {
    let given = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = given.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = data_encoding::BASE64.decode(rest.trim().as_bytes()).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    text.split_once(':').map(|(_user, password)| password.to_owned())
}

/// A page of somebody else's may give its own name this machine's address, and have a browser on this machine ask; the
/// name that the browser asked for is still the page's.
fn names_this_machine(headers: &HeaderMap) -> Result<(), Problem> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        Some((address, _port)) => address,
        None => host.split(':').next().unwrap_or_default(),
    };
    let is_local = name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if is_local {
        return Ok(());
    }
    Err(Problem::forbidden(format!(
        "without tokens only requests to this machine's own names are answered, such as localhost, not to {host:?}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn a_token_is_a_bearer_s_or_a_password() {
        let authorization = |value| shown(&headers(header::AUTHORIZATION, value));
        assert_eq!(authorization("Bearer syn_1").as_deref(), Some("syn_1"));
        assert_eq!(authorization("bearer  syn_1 ").as_deref(), Some("syn_1"));
        // RFC 7617's example, and one without a user.
        assert_eq!(authorization("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==").as_deref(), Some("open sesame"));
        assert_eq!(authorization("Basic OnN5bl8x").as_deref(), Some("syn_1"));
        for other in ["", "syn_1", "Digest x", "Basic ?", "Basic c3luXzE="] {
            assert_eq!(authorization(other), None, "{other}");
        }
        assert_eq!(shown(&HeaderMap::new()), None);
    }

    #[test]
    fn only_this_machine_s_names_are_its_own() {
        let host = |value| names_this_machine(&headers(header::HOST, value)).is_ok();
        for own in ["localhost", "LOCALHOST:8080", "127.0.0.1", "127.9.9.9:80", "[::1]", "[::1]:8080"] {
            assert!(host(own), "{own}");
        }
        for other in
            ["", "example.org", "localhost.example.org:80", "10.0.0.1:8080", "[fe80::1]:8080", "127.0.0.1.nip.io"]
        {
            assert!(!host(other), "{other}");
        }
    }

    #[test]
    fn each_role_has_its_rights() {
        let rights = [Right::Read, Right::Trace, Right::Script, Right::Change];
        let of = |role: Role| rights.map(|right| role.has(right));
        assert_eq!(of(Role::Viewer), [true, false, false, false]);
        assert_eq!(of(Role::Tracer), [true, true, false, false]);
        assert_eq!(of(Role::TracerScript), [true, true, true, false]);
        assert_eq!(of(Role::Operator), [true, false, false, true]);
    }
}
