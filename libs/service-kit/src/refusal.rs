//! Which setting is at fault where a server and we do not come together.
//!
//! Each client library says in words of its own that a certificate or a password was refused, and hides it under layers of
//! errors; some only write it to a log. What they have in common is the text, so it is read from there; tests against
//! real servers hold it to what they say today. What is not recognised is shown as it is.

use std::{error::Error, fmt};

/// A server that settings name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// `redis.`
    Redis,
    /// `kafka.`
    Kafka,
    /// `scylla.`
    Scylla,
}

/// What the settings and the server do not agree on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The setting at fault.
    pub key: &'static str,
    /// What it should be.
    pub expected: &'static str,
    /// What was said.
    pub got: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, got: {}", self.key, self.expected, self.got)
    }
}

impl Error for Refusal {}

/// The parts of the settings that a connection can fail by.
#[derive(Clone, Copy)]
enum Part {
    Address,
    Authority,
    Certificate,
    Password,
    Rights,
    Transport,
}

/// Words, all of which stand in what was said (`|` between those of which one does), what is at fault, and what was expected.
/// The first that fits counts.
const SAYINGS: &[(&[&str], Part, &str)] = &[
    // What the server says of our certificate comes as an alert.
    (&["alert", "certificaterequired|certificate required|certificate_required"], Part::Certificate, CLIENT),
    (
        &["alert", "certificate expired|certificateexpired|certificate_expired"],
        Part::Certificate,
        CLIENT_VALID,
    ),
    (
        &[
            "alert",
            "unknownca|unknown ca|unknown_ca|badcertificate|bad certificate|bad_certificate|certificateunknown|certificate unknown|certificate_unknown|handshakefailure|handshake failure|accessdenied",
        ],
        Part::Certificate,
        CLIENT,
    ),
    // What we say of the server's. One signed by another authority of the same name has a bad signature.
    (
        &["certificate", "has expired|expired:|certexpired|certificate expired|invalidcertvalidity"],
        Part::Address,
        VALID,
    ),
    (
        &["notvalidfor|not valid for|hostname mismatch|ip address mismatch|doesn't match"],
        Part::Address,
        NAMED,
    ),
    (
        &[
            "badsignature|unknownissuer|unknown issuer|certificate verify failed|could not be verified|self-signed certificate|self signed certificate",
        ],
        Part::Authority,
        SIGNER,
    ),
    (
        &["wrong version number|invalidcontenttype|corrupt message|plaintext broker listener|not an ssl/tls"],
        Part::Transport,
        TLS,
    ),
    (
        &[
            "wrongpass|noauth|authentication failed|incorrect password|are incorrect|invalid credentials|authenticationerror|password is incorrect|password authentication",
        ],
        Part::Password,
        LOGIN,
    ),
    (
        &["authentication required|authentication is required|missingauthentication|requires authentication"],
        Part::Password,
        LOGIN,
    ),
    (&["noperm|unauthorized|not authorized|authorization failed"], Part::Rights, RIGHTS),
    (&["connection to ssl listener|security.protocol|ssl mechanism|sasl mechanism"], Part::Transport, PLAIN),
];

const CLIENT: &str = "a client's certificate that the server takes";
const CLIENT_VALID: &str = "a client's certificate that has not ended";
const VALID: &str = "a server whose certificate is valid now";
const NAMED: &str = "a name or an address that stands in the server's certificate";
const SIGNER: &str = "the authority that signed the server's certificate";
const TLS: &str = "a server that speaks TLS there";
const PLAIN: &str = "the kind of security that the server wants there";
const LOGIN: &str = "the password of the user, and the user, that the server knows";
const RIGHTS: &str = "a user who may do this";

impl Server {
    fn key(self, part: Part) -> &'static str {
        use Part::{Address, Authority, Certificate, Password, Rights, Transport};
        match (self, part) {
            (Self::Redis, Address | Transport) => "redis.nodes",
            (Self::Redis, Authority) => "redis.ca",
            (Self::Redis, Certificate) => "redis.certificate",
            (Self::Redis, Password) => "redis.password_file",
            (Self::Redis, Rights) => "redis.username",
            (Self::Kafka, Address) => "kafka.bootstrap",
            (Self::Kafka, Transport) => "kafka.security",
            (Self::Kafka, Authority) => "kafka.ca",
            (Self::Kafka, Certificate) => "kafka.certificate",
            (Self::Kafka, Password) => "kafka.sasl_password_file",
            (Self::Kafka, Rights) => "kafka.sasl_user",
            (Self::Scylla, Address) => "scylla.contact_points",
            (Self::Scylla, Authority | Transport) => "scylla.ca",
            (Self::Scylla, Certificate) => "scylla.certificate",
            (Self::Scylla, Password) => "scylla.password_file",
            (Self::Scylla, Rights) => "scylla.username",
        }
    }
}

impl Refusal {
    /// What is at fault, where that can be told from what was said.
    pub fn of(server: Server, said: &str) -> Option<Self> {
        let words = said.to_ascii_lowercase();
        let fits = |all: &&[&str]| all.iter().all(|any| any.split('|').any(|word| words.contains(word)));
        let (_, part, expected) = SAYINGS.iter().find(|(all, ..)| fits(all))?;
        Some(Self { key: server.key(*part), expected, got: said.to_owned() })
    }

    /// The same of an error with its causes, which stays as it is where nothing can be told.
    pub fn explain(
        server: Server,
        error: impl Error + Send + Sync + 'static,
    ) -> Box<dyn Error + Send + Sync> {
        match Self::of(server, &with_causes(&error)) {
            Some(refusal) => Box::new(refusal),
            None => Box::new(error),
        }
    }
}

/// An error and what is below it, in one line.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(below) = cause {
        let said = below.to_string();
        // Some wrap an error and say the same again.
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = below.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_at_fault_is_named() {
        for (server, said, key) in [
            (Server::Redis, "invalid peer certificate: BadSignature", "redis.ca"),
            (Server::Redis, "invalid peer certificate: UnknownIssuer", "redis.ca"),
            (
                Server::Redis,
                "invalid peer certificate: certificate expired: verification time 1",
                "redis.nodes",
            ),
            (Server::Redis, "received fatal alert: CertificateRequired", "redis.certificate"),
            (
                Server::Redis,
                "WRONGPASS invalid username-password pair or user is disabled.",
                "redis.password_file",
            ),
            (Server::Kafka, "ssl://b:1/1: SSL handshake failed: tlsv1 alert unknown ca", "kafka.certificate"),
            (
                Server::Kafka,
                "SASL authentication error: Authentication failed during authentication due to invalid credentials with SASL mechanism SCRAM-SHA-512",
                "kafka.sasl_password_file",
            ),
            (Server::Scylla, "certificate not valid for name \"10.0.0.1\"", "scylla.contact_points"),
        ] {
            assert_eq!(Refusal::of(server, said).map(|refusal| refusal.key), Some(key), "{said}");
        }
        assert_eq!(Refusal::of(Server::Kafka, "Local: Broker transport failure"), None);
    }
}
