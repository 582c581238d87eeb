//! The OMA Download 1.0 descriptor: what some clients want to read before they fetch a package.

use storage::ArtifactMeta;

/// The media type of a descriptor.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.oma.dd+xml";

/// The descriptor of an artifact at `object_uri`; its outcome goes to `notify_uri`.
pub(crate) fn format(meta: &ArtifactMeta, object_uri: &str, notify_uri: &str) -> String {
    let ArtifactMeta { size, name, version, media_type, .. } = meta;
    let [name, version, media_type] = [name, version, media_type].map(|text| escape(text));
    let [object_uri, notify_uri] = [object_uri, notify_uri].map(escape);
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <media xmlns=\"http://www.openmobilealliance.org/xmlns/dd\" DDVersion=\"1.0\">\n\
         \x20 <name>{name}</name>\n\
         \x20 <version>{version}</version>\n\
         \x20 <type>{media_type}</type>\n\
         \x20 <size>{size}</size>\n\
         \x20 <objectURI>{object_uri}</objectURI>\n\
         \x20 <installNotifyURI>{notify_uri}</installNotifyURI>\n\
         </media>\n"
    )
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // Other control characters cannot be written in XML at all.
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Meanings of the codes that are posted to `installNotifyURI` (Download 1.0, section 5.2.7).
pub(crate) fn status_name(code: u16) -> &'static str {
    match code {
        900 => "success",
        901 => "insufficient memory",
        902 => "user cancelled",
        903 => "loss of service",
        905 => "attribute mismatch",
        906 => "invalid descriptor",
        951 => "invalid descriptor version",
        952 => "device aborted",
        953 => "non-acceptable content",
        954 => "loader error",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_what_a_client_reads_and_escapes_it() {
        let meta = ArtifactMeta {
            digest: [7; 32],
            size: 1234,
            name: "a<b>&\"c\u{1}".into(),
            version: "2.0".into(),
            media_type: "application/octet-stream".into(),
            added: jiff::Timestamp::UNIX_EPOCH,
        };
        let text = format(&meta, "http://x/a?b&c", "http://x/n");
        for part in [
            "<name>a&lt;b&gt;&amp;&quot;c </name>",
            "<version>2.0</version>",
            "<type>application/octet-stream</type>",
            "<size>1234</size>",
            "<objectURI>http://x/a?b&amp;c</objectURI>",
            "<installNotifyURI>http://x/n</installNotifyURI>",
        ] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
    }
}
