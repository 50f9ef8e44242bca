//! A server's certificate, and the authority that signs it and nothing else.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

/// How long both are valid.
const VALID: Duration = Duration::days(5 * 365);
/// Clocks may be so far behind ours.
const BEFORE: Duration = Duration::days(1);

/// All PEM.
pub(crate) struct Made {
    pub(crate) authority: String,
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// For a server that is reached by these names or addresses.
pub(crate) fn make(hosts: &[String]) -> Result<Made, rcgen::Error> {
    let mut authority = parameters(&[], "synscope authority")?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let signing = KeyPair::generate()?;
    let own = authority.self_signed(&signing)?;
    let issuer = Issuer::new(authority, signing);

    let mut server = parameters(hosts, "nats-server")?;
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let certificate = server.signed_by(&key, &issuer)?;
    Ok(Made { authority: own.pem(), certificate: certificate.pem(), key: key.serialize_pem() })
}

fn parameters(hosts: &[String], name: &str) -> Result<CertificateParams, rcgen::Error> {
    let mut parameters = CertificateParams::new(hosts)?;
    parameters.distinguished_name.push(DnType::CommonName, name);
    let now = OffsetDateTime::now_utc();
    (parameters.not_before, parameters.not_after) = (now - BEFORE, now + VALID);
    Ok(parameters)
}
