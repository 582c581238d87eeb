//! Certificates: whether they can be used, for how long, and whether they are for the name that devices are told.

use std::path::Path;

use jiff::Timestamp;
use rustls::{crypto::ring, sign::CertifiedKey};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer, ServerName, UnixTime,
    pem::{self, PemObject as _},
};
use service_kit::{
    Settings,
    settings::{PublicUrl, StorageBackend},
    tls,
};

use super::{Finding, uses};

const CHECK: &str = "certificates";

/// A certificate that ends within so many days is a warning.
const DAYS_LEFT_MIN: i64 = 21;

/// Every file of certificates that the settings name.
pub(super) fn all(settings: &Settings) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let (Some(certificate), Some(key)) = (&settings.tls.certificate, &settings.tls.key) {
        let url = settings.session.public_url.as_ref();
        findings.extend(pair("session.tls.", certificate, key, url));
    }
    if let (Some(certificate), Some(key)) = (&settings.admin_tls.certificate, &settings.admin_tls.key) {
        findings.extend(pair("admin.tls.", certificate, key, None));
    }
    let telemetry = &settings.telemetry;
    if let (Some(certificate), Some(key)) = (&telemetry.otlp_certificate, &telemetry.otlp_key) {
        findings.extend(pair("telemetry.otlp_", certificate, key, None));
    }
    for (name, ca) in [
        ("telemetry.otlp_ca", &telemetry.otlp_ca),
        ("session.tls.client_ca", &settings.tls.client_ca),
        ("admin.tls.client_ca", &settings.admin_tls.client_ca),
    ] {
        findings.extend(ca.as_deref().map(|ca| authorities(name, ca)));
    }
    if settings.storage.backend == StorageBackend::Cluster {
        let (redis, scylla, kafka) = (&settings.redis, &settings.scylla, &settings.kafka);
        for (section, ca, certificate, key) in [
            ("redis", &redis.ca, &redis.certificate, &redis.key),
            ("scylla", &scylla.ca, &scylla.certificate, &scylla.key),
            ("kafka", &kafka.ca, &kafka.certificate, &kafka.key),
        ] {
            if !uses(settings, section) {
                continue;
            }
            findings.extend(ca.as_deref().map(|ca| authorities(&format!("{section}.ca"), ca)));
            if let (Some(certificate), Some(key)) = (certificate, key) {
                findings.extend(pair(&format!("{section}."), certificate, key, None));
            }
        }
    }
    findings
}

/// A certificate and its key, by what their keys of the settings begin with.
fn pair(section: &str, certificate: &Path, key: &Path, url: Option<&PublicUrl>) -> Vec<Finding> {
    let name = format!("{section}certificate");
    let chain = match read(certificate) {
        Ok(chain) => chain,
        Err(why) => return vec![unusable(&name, certificate, &why)],
    };
    let mut findings = vec![ends(&name, certificate, &chain)];
    match PrivateKeyDer::from_pem_file(key) {
        Err(error) => findings.push(unusable(&format!("{section}key"), key, &error.to_string())),
        Ok(private) => findings.extend(belongs(private, &chain).err().map(|why| {
            let (certificate, key) = (certificate.display(), key.display());
            let what = format!("{section}key: expected the key of {certificate}, got {key}: {why}");
            let remedy = "openssl x509 -pubkey -noout -in CERTIFICATE; openssl pkey -pubout -in KEY";
            Finding::fail(CHECK, what, remedy)
        })),
    }
    if let Err(why) = in_order(&chain) {
        let what = format!(
            "{name}: expected each certificate of {} to be signed by the next, got: {why}",
            certificate.display()
        );
        findings.push(Finding::fail(
            CHECK,
            what,
            "put the server's own first, then what signed it, and so on",
        ));
    }
    if let Some(url) = url {
        findings.extend(named(&name, certificate, &chain, url));
    }
    findings
}

/// Whether a key is that of the first certificate.
fn belongs(key: PrivateKeyDer<'static>, chain: &[CertificateDer<'static>]) -> Result<(), String> {
    let key =
        ring::default_provider().key_provider.load_private_key(key).map_err(|error| error.to_string())?;
    CertifiedKey::new(chain.to_vec(), key).keys_match().map_err(|error| error.to_string())
}

fn authorities(name: &str, file: &Path) -> Finding {
    match read(file) {
        Ok(certificates) => ends(name, file, &certificates),
        Err(why) => unusable(name, file, &why),
    }
}

fn unusable(name: &str, file: &Path, why: &str) -> Finding {
    let what = format!("{name}: expected PEM in {}, got: {why}", file.display());
    Finding::fail(CHECK, what, format!("openssl x509 -noout -text -in {}", file.display()))
}

fn read(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    tls::read_pem(file).map_err(|error| match error {
        pem::Error::NoItemsFound => "no certificate".to_owned(),
        error => error.to_string(),
    })
}

/// How long the first of them to end is good.
fn ends(name: &str, file: &Path, certificates: &[CertificateDer<'_>]) -> Finding {
    let ends: Option<Vec<Timestamp>> =
        certificates.iter().map(|certificate| tls::not_after(certificate)).collect();
    let shown = file.display();
    let Some(end) = ends.and_then(|ends| ends.into_iter().min()) else {
        return unusable(name, file, "a certificate without an end");
    };
    let days = end.duration_since(Timestamp::now()).as_hours() / 24;
    let remedy = format!("renew it and replace {shown}, which is read again without a restart");
    if end <= Timestamp::now() {
        Finding::fail(
            CHECK,
            format!("{name}: expected a certificate that is good now, {shown} ended at {end}"),
            remedy,
        )
    } else if days < DAYS_LEFT_MIN {
        Finding::warn(CHECK, format!("{name}: {shown} ends in {days} days, at {end}"), remedy)
    } else {
        Finding::ok(CHECK, format!("{name}: {shown} is good until {end}"))
    }
}

/// Whether a chain of more than one leads from the first to the last.
fn in_order(chain: &[CertificateDer<'_>]) -> Result<(), String> {
    let ([leaf, between @ ..], Some(last)) = (chain, chain.last()) else { return Ok(()) };
    if between.is_empty() {
        return Ok(());
    }
    let said = |error: webpki::Error| format!("{error:?}");
    let anchors = [webpki::anchor_from_trusted_cert(last).map_err(said)?];
    let leaf = webpki::EndEntityCert::try_from(leaf).map_err(said)?;
    let usage = webpki::KeyUsage::server_auth();
    let outcome = leaf.verify_for_usage(
        webpki::ALL_VERIFICATION_ALGS,
        &anchors,
        between,
        UnixTime::now(),
        usage,
        None,
        None,
    );
    match outcome {
        // What a certificate is for and until when is said elsewhere.
        Ok(_) | Err(webpki::Error::RequiredEkuNotFoundContext(_) | webpki::Error::CertExpired { .. }) => {
            Ok(())
        }
        Err(error) => Err(said(error)),
    }
}

/// Whether devices that come by the public address are shown a certificate for it.
fn named(name: &str, file: &Path, chain: &[CertificateDer<'_>], url: &PublicUrl) -> Option<Finding> {
    let uri = url.as_str().split_once("://")?.1.split('/').next()?;
    let host = match uri.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => host,
        _ => uri,
    };
    let host = host.trim_matches(['[', ']']);
    let subject = ServerName::try_from(host.to_owned()).ok()?;
    let leaf = webpki::EndEntityCert::try_from(chain.first()?).ok()?;
    Some(match leaf.verify_is_valid_for_subject_name(&subject) {
        Ok(()) => Finding::ok(CHECK, format!("{name}: {} is for {host}", file.display())),
        Err(_) => {
            let names: Vec<_> = leaf.valid_dns_names().collect();
            let what = format!(
                "{name}: expected a certificate for {host} of session.public_url, {} is for {}",
                file.display(),
                if names.is_empty() { "no name".to_owned() } else { names.join(", ") }
            );
            Finding::fail(
                CHECK,
                what,
                "get one with that name, or set session.public_url to one of its names",
            )
        }
    })
}
