//! One package on its way to a device: by descriptor or straight, resumed after a break, checked by size and digest.

use dm_objects::fumo::FumoResult;
use quick_xml::{Reader, events::Event};
use sha2::{Digest as _, Sha256};

/// A descriptor larger than this is none.
const DESCRIPTOR_OCTETS_MAX: usize = 16 * 1024;
/// Descriptors that lead to descriptors.
const HOPS_MAX: u8 = 3;
/// Breaks and refusals of one download before the device gives up.
const TRIES_MAX: u8 = 8;

/// What an answer's head says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The HTTP status.
    pub status: u16,
    /// The body is an OMA download descriptor.
    pub is_descriptor: bool,
    /// Where in the object the body begins: 0, or what `Content-Range` says.
    pub start: u64,
    /// Octets of the whole object, where they are said.
    pub total: Option<u64>,
    /// SHA-256 of the whole object, where it is said.
    pub digest: Option<[u8; 32]>,
}

/// What to do when a transfer has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Ask (again) for [`Download::url`] from [`Download::offset`] on.
    Again,
    /// It is all there; whether its digest was known, and so could be checked.
    Done {
        /// False: the server said no digest.
        checked: bool,
    },
    /// It cannot be had.
    Failed(FumoResult),
}

/// A download.
#[derive(Clone, Debug)]
pub struct Download {
    url: String,
    offset: u64,
    total: Option<u64>,
    digest: Option<[u8; 32]>,
    hasher: Sha256,
    descriptor: Option<Vec<u8>>,
    version: Option<String>,
    refusal: Option<u16>,
    hops: u8,
    tries: u8,
}

impl Download {
    /// One that has not begun.
    pub fn new(url: String) -> Self {
        Self {
            url,
            offset: 0,
            total: None,
            digest: None,
            hasher: Sha256::new(),
            descriptor: None,
            version: None,
            refusal: None,
            hops: 0,
            tries: 0,
        }
    }

    /// Where to ask.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The first octet to ask for.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The version that a descriptor said.
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// An answer begins.
    pub fn handle_head(&mut self, head: &Head) {
        self.refusal = None;
        if !matches!(head.status, 200 | 206) {
            self.refusal = Some(head.status);
            return;
        }
        if head.is_descriptor {
            self.descriptor = Some(Vec::new());
            return;
        }
        let start = if head.status == 206 { head.start } else { 0 };
        // Not what was asked for, or the object has changed meanwhile: all over again.
        let has_changed = self.digest.is_some() && head.digest.is_some() && self.digest != head.digest
            || self.total.is_some() && head.total.is_some() && self.total != head.total && self.offset > 0;
        if has_changed && start > 0 {
            self.restart();
            self.refusal = Some(416);
            return;
        }
        if start != self.offset {
            self.restart();
            if start != 0 {
                self.refusal = Some(416);
                return;
            }
        }
        self.total = head.total.or(self.total);
        self.digest = head.digest.or(self.digest);
    }

    /// The next octets of the body.
    pub fn handle_data(&mut self, data: &[u8]) {
        if self.refusal.is_some() {
            return;
        }
        match &mut self.descriptor {
            Some(descriptor) => {
                let room = (DESCRIPTOR_OCTETS_MAX + 1).saturating_sub(descriptor.len());
                descriptor.extend_from_slice(&data[..data.len().min(room)]);
            }
            None => {
                self.hasher.update(data);
                self.offset += data.len() as u64;
            }
        }
    }

    /// The answer has ended, whole or broken off; without a head before it, there was none.
    pub fn handle_end(&mut self, is_whole: bool) -> Outcome {
        if let Some(status) = self.refusal.take() {
            return self.refused(status);
        }
        if let Some(descriptor) = self.descriptor.take() {
            return if is_whole {
                self.follow(&descriptor)
            } else {
                self.again(FumoResult::DownloadNetworkError)
            };
        }
        let is_complete = self.total.map_or(is_whole, |total| self.offset >= total);
        if !is_complete {
            return self.again(FumoResult::DownloadNetworkError);
        }
        let digest: [u8; 32] = self.hasher.clone().finalize().into();
        let is_size_right = self.total.is_none_or(|total| total == self.offset);
        if !is_size_right || self.digest.is_some_and(|wanted| wanted != digest) {
            return Outcome::Failed(FumoResult::CorruptPackage);
        }
        Outcome::Done { checked: self.digest.is_some() }
    }

    fn restart(&mut self) {
        self.offset = 0;
        self.hasher = Sha256::new();
        self.total = None;
        self.digest = None;
    }

    fn again(&mut self, result: FumoResult) -> Outcome {
        self.tries += 1;
        if self.tries >= TRIES_MAX { Outcome::Failed(result) } else { Outcome::Again }
    }

    fn refused(&mut self, status: u16) -> Outcome {
        match status {
            401 | 403 => Outcome::Failed(FumoResult::DownloadAuthFailed),
            408 => self.again(FumoResult::DownloadTimeout),
            416 => self.again(FumoResult::DownloadServerError),
            429 | 503 => self.again(FumoResult::DownloadServerUnavailable),
            500..=599 => self.again(FumoResult::DownloadServerError),
            _ => Outcome::Failed(FumoResult::BadUrl),
        }
    }

    fn follow(&mut self, descriptor: &[u8]) -> Outcome {
        self.hops += 1;
        let Some(media) = Media::parse(descriptor).filter(|_| self.hops <= HOPS_MAX) else {
            return Outcome::Failed(FumoResult::BadUrl);
        };
        self.restart();
        self.url = resolve(&self.url, &media.object_uri);
        self.total = media.size;
        self.version = media.version;
        Outcome::Again
    }
}

/// What a device reads of an OMA download descriptor; elements it does not know are passed over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Media {
    object_uri: String,
    size: Option<u64>,
    version: Option<String>,
}

impl Media {
    fn parse(octets: &[u8]) -> Option<Self> {
        if octets.len() > DESCRIPTOR_OCTETS_MAX {
            return None;
        }
        let text = std::str::from_utf8(octets).ok()?;
        let mut reader = Reader::from_str(text);
        let mut media = Self::default();
        let (mut element, mut value) = (String::new(), String::new());
        loop {
            match reader.read_event().ok()? {
                Event::Start(start) => {
                    element = start.local_name().as_ref().to_owned();
                    value.clear();
                }
                Event::Text(text) => value.push_str(&text),
                Event::CData(text) => value.push_str(&text),
                Event::GeneralRef(reference) => value.push(entity(&reference)?),
                Event::End(_) => {
                    let value = std::mem::take(&mut value).trim().to_owned();
                    match std::mem::take(&mut element).as_str() {
                        "objectURI" => media.object_uri = value,
                        "size" => media.size = Some(value.parse().ok()?),
                        "version" => media.version = Some(value),
                        _ => {}
                    }
                }
                Event::Eof => break,
                _ => {}
            }
        }
        (!media.object_uri.is_empty()).then_some(media)
    }
}

fn entity(reference: &quick_xml::events::BytesRef<'_>) -> Option<char> {
    if let Some(character) = reference.resolve_char_ref().ok()? {
        return Some(character);
    }
    Some(match &**reference {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        _ => return None,
    })
}

/// An address of a descriptor, which may be relative to its own.
fn resolve(base: &str, reference: &str) -> String {
    if reference.contains("://") {
        return reference.to_owned();
    }
    let path_at = base.find("://").map_or(0, |at| at + 3);
    let host_end = base[path_at..].find('/').map_or(base.len(), |at| path_at + at);
    if reference.starts_with('/') {
        return format!("{}{reference}", &base[..host_end]);
    }
    let path = base[host_end..].split(['?', '#']).next().unwrap_or_default();
    let folder = path.rfind('/').map_or("/", |at| &path[..=at]);
    format!("{}{folder}{reference}", &base[..host_end])
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGE: &[u8] = b"firmware image";

    fn head(status: u16, start: u64) -> Head {
        let digest = Some(Sha256::digest(IMAGE).into());
        Head { status, is_descriptor: false, start, total: Some(IMAGE.len() as u64), digest }
    }

    #[test]
    fn a_broken_download_goes_on_where_it_broke() {
        let mut download = Download::new("http://fw.example/x".into());
        download.handle_head(&head(200, 0));
        download.handle_data(&IMAGE[..5]);
        assert_eq!((download.handle_end(false), download.offset()), (Outcome::Again, 5));
        download.handle_head(&head(206, 5));
        download.handle_data(&IMAGE[5..]);
        assert_eq!(download.handle_end(true), Outcome::Done { checked: true });
    }

    #[test]
    fn a_server_without_ranges_makes_it_begin_anew() {
        let mut download = Download::new("http://fw.example/x".into());
        download.handle_head(&head(200, 0));
        download.handle_data(&IMAGE[..5]);
        assert_eq!(download.handle_end(false), Outcome::Again);
        download.handle_head(&head(200, 0));
        download.handle_data(IMAGE);
        assert_eq!(download.handle_end(true), Outcome::Done { checked: true });
    }

    #[test]
    fn a_wrong_octet_or_size_is_found() {
        for body in [&b"firmware imagf"[..], b"firmware image and more"] {
            let mut download = Download::new("http://fw.example/x".into());
            download.handle_head(&head(200, 0));
            download.handle_data(body);
            assert_eq!(download.handle_end(true), Outcome::Failed(FumoResult::CorruptPackage));
        }
    }

    #[test]
    fn refusals_become_results() {
        for (status, want) in [
            (404, Outcome::Failed(FumoResult::BadUrl)),
            (410, Outcome::Failed(FumoResult::BadUrl)),
            (403, Outcome::Failed(FumoResult::DownloadAuthFailed)),
            (503, Outcome::Again),
        ] {
            let mut download = Download::new("http://fw.example/x".into());
            download.handle_head(&head(status, 0));
            download.handle_data(b"no");
            assert_eq!(download.handle_end(true), want, "status {status}");
        }
        let mut download = Download::new("http://fw.example/x".into());
        let outcome = (0..100).map(|_| download.handle_end(false)).find(|outcome| *outcome != Outcome::Again);
        assert_eq!(outcome, Some(Outcome::Failed(FumoResult::DownloadNetworkError)));
    }

    #[test]
    fn a_descriptor_leads_to_its_object() {
        const DESCRIPTOR: &[u8] = br#"<?xml version="1.0"?><media xmlns="http://www.openmobilealliance.org/xmlns/dd">
            <name>A1 &amp; more</name><type>application/octet-stream</type><size>14</size><x:y xmlns:x="u">z</x:y>
            <version>2.0</version><objectURI>obj/a.bin?t=1&amp;u=2</objectURI></media>"#;
        let mut download = Download::new("http://fw.example/dd/a.dd?t=1".into());
        download.handle_head(&Head { status: 200, is_descriptor: true, ..Head::default() });
        download.handle_data(DESCRIPTOR);
        assert_eq!(download.handle_end(true), Outcome::Again);
        assert_eq!(download.url(), "http://fw.example/dd/obj/a.bin?t=1&u=2");
        assert_eq!(download.version(), Some("2.0"));
        download.handle_head(&head(200, 0));
        download.handle_data(IMAGE);
        assert_eq!(download.handle_end(true), Outcome::Done { checked: true });
    }

    #[test]
    fn what_is_no_descriptor_is_a_bad_address() {
        for octets in [&b""[..], b"<media/>", b"<media><size>x</size></media>", b"\xff", &[b' '; 20_000]] {
            let mut download = Download::new("http://fw.example/dd".into());
            download.handle_head(&Head { status: 200, is_descriptor: true, ..Head::default() });
            download.handle_data(octets);
            assert_eq!(download.handle_end(true), Outcome::Failed(FumoResult::BadUrl));
        }
    }

    #[test]
    fn relative_addresses_are_resolved() {
        for (base, reference, want) in [
            ("http://a/b/c?d", "e", "http://a/b/e"),
            ("http://a/b/c", "/e/f", "http://a/e/f"),
            ("http://a", "e", "http://a/e"),
            ("http://a/b", "https://x/y", "https://x/y"),
        ] {
            assert_eq!(resolve(base, reference), want);
        }
    }
}
