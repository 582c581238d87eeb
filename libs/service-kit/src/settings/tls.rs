//! What both listeners have of transport security.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{AdminTlsSettings, TlsSettings};

/// The oldest version of TLS that a listener speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    Tls13,
}

/// Whether a client shows a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsClientAuth {
    /// It is not asked.
    #[default]
    Off,
    /// It may; one that it shows must be good.
    Optional,
    /// It must.
    Required,
}

/// Whom a device's certificate stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsClientIdentity {
    /// Anybody may use it.
    #[default]
    None,
    /// The device whose id it names.
    DeviceId,
}

/// Transport security of one listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerTlsSettings<'a> {
    /// PEM file of the certificate chain.
    pub certificate: Option<&'a Path>,
    /// PEM file of the private key.
    pub key: Option<&'a Path>,
    /// The oldest version.
    pub min_version: TlsVersion,
    /// Whether clients show certificates.
    pub client_auth: TlsClientAuth,
    /// PEM file of the authorities of clients.
    pub client_ca: Option<&'a Path>,
    /// PEM file of lists of revoked certificates.
    pub client_crl: Option<&'a Path>,
}

macro_rules! listener {
    ($settings:ty) => {
        impl $settings {
            /// The part that every listener has.
            pub fn listener(&self) -> ListenerTlsSettings<'_> {
                ListenerTlsSettings {
                    certificate: self.certificate.as_deref(),
                    key: self.key.as_deref(),
                    min_version: self.min_version,
                    client_auth: self.client_auth,
                    client_ca: self.client_ca.as_deref(),
                    client_crl: self.client_crl.as_deref(),
                }
            }
        }
    };
}

listener!(TlsSettings);
listener!(AdminTlsSettings);

impl ListenerTlsSettings<'_> {
    /// What no single key can get wrong: the key within the section, and what is wrong with it.
    pub(super) fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        let mut wrong = |key, problem: &str| problems.push((key, problem.to_owned()));
        match (self.certificate, self.key) {
            (Some(_), None) => wrong("key", "expected a file, as there is a certificate"),
            (None, Some(_)) => wrong("certificate", "expected a file, as there is a key"),
            _ => {}
        }
        if self.client_auth != TlsClientAuth::Off {
            if self.certificate.is_none() && self.key.is_none() {
                wrong("client_auth", "expected off, as there is no certificate to speak TLS with");
            } else if self.client_ca.is_none() {
                wrong("client_ca", "expected a file, as client_auth asks for certificates");
            }
        } else if self.client_ca.is_some() {
            // Whoever names authorities means them to be asked for: silence would leave the door open.
            wrong("client_auth", "expected optional or required, as there is a client_ca");
        }
        if self.client_crl.is_some() && self.client_ca.is_none() {
            wrong("client_ca", "expected a file, as there is a client_crl");
        }
        problems
    }
}
