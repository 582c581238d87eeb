//! Every real message that we have decodes, and encodes back to the same value in both forms.

use std::{
    borrow::Cow,
    fs,
    path::{Path, PathBuf},
};

use syncml::{Command, Data, DecodeError, Encoding, Limits, Message, decode, encode};

/// The folders of the corpus that may be copied, as far as they hold messages.
#[test]
fn reads_every_message_of_the_corpus_and_writes_it_back() {
    let read = check_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus"));
    assert!(read.messages >= 80, "only {read:?}");
}

/// The same for samples whose licences keep them out of this repository.
#[test]
fn reads_the_samples_that_are_kept_elsewhere() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    for folder in ["libwbxml-tests", "wbxml-stream-tests"] {
        let folder = corpus.join(folder);
        if !folder.exists() {
            eprintln!("skipped: there is no {}", folder.display());
            continue;
        }
        let read = check_folder(&folder);
        assert!(read.messages > 0, "only {read:?}");
    }
}

#[derive(Debug, Default)]
struct Read {
    messages: usize,
    other_documents: usize,
}

fn check_folder(folder: &Path) -> Read {
    let mut read = Read::default();
    for path in files(folder) {
        let bytes = fs::read(&path).expect("the file was just listed");
        let encoding = match path.extension().and_then(|extension| extension.to_str()) {
            Some("xml") => Encoding::Xml,
            Some("wbxml") => Encoding::Wbxml,
            _ => continue,
        };
        match decode(encoding, &bytes, &Limits::default()) {
            Ok(message) => {
                check_round_trips(&path, &message);
                read.messages += 1;
            }
            // Tree descriptions and provisioning documents lie there too. They are refused at their root.
            Err(error) => {
                if encoding == Encoding::Wbxml {
                    check_balanced(&path, &bytes);
                }
                let is_message =
                    bytes.windows(6).any(|window| window == b"SyncML" || window == b"\x6D\x6Cq\x031.");
                assert!(!is_message, "{}: {error}", path.display());
                assert!(
                    matches!(error, DecodeError::UnexpectedElement { .. }),
                    "{}: {error}",
                    path.display()
                );
                assert!(error.at() > 0 && error.status().0 == 400);
                read.other_documents += 1;
            }
        }
    }
    read
}

/// A document of another type is still one: the reader that knows no types comes to its end.
fn check_balanced(path: &Path, bytes: &[u8]) {
    let mut reader = wbxml::Reader::new(bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (mut open, mut elements) = (0_usize, 0);
    while let Some(token) = reader.next_token().unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    {
        match token {
            wbxml::Token::Element { has_content, .. } => {
                open += usize::from(has_content);
                elements += 1;
            }
            wbxml::Token::End => open -= 1,
            _ => {}
        }
    }
    assert!(open == 0 && elements >= 10, "{}: {open} of {elements} elements are open", path.display());
}

fn check_round_trips(path: &Path, message: &Message<'_>) {
    for encoding in [Encoding::Wbxml, Encoding::Xml] {
        let mut out = Vec::new();
        encode(encoding, message, &mut out);
        let again = decode(encoding, &out, &Limits::default())
            .unwrap_or_else(|error| panic!("{} as {encoding}: {error}", path.display()));
        let want = if encoding == Encoding::Xml { with_octets_in_base64(message) } else { message.clone() };
        assert_eq!(again, want, "{} as {encoding}", path.display());
    }
}

/// What XML makes of a message: octets in `Data` (embedded WBXML documents) become base64.
fn with_octets_in_base64(message: &Message<'_>) -> Message<'static> {
    let mut message = message.clone().into_owned();
    message.body.commands.iter_mut().for_each(visit);
    return message;

    fn visit(command: &mut Command<'_>) {
        let (meta, items) = match command {
            Command::Add(command) | Command::Replace(command) | Command::Put(command) => {
                (command.meta.clone(), &mut command.items)
            }
            Command::Results(command) => (command.meta.clone(), &mut command.items),
            Command::Sync(command) => return command.commands.iter_mut().for_each(visit),
            Command::Atomic(command) | Command::Sequence(command) => {
                return command.commands.iter_mut().for_each(visit);
            }
            _ => return,
        };
        for item in items {
            if let Some(Data::Bytes(octets)) = &item.data {
                item.data = Some(Data::Text(Cow::Owned(base64(octets))));
                let meta = item.meta.get_or_insert_with(|| meta.clone().unwrap_or_default());
                meta.format = Some("b64".into());
            }
        }
    }
}

fn base64(octets: &[u8]) -> String {
    use base64::{Engine, prelude::BASE64_STANDARD};
    BASE64_STANDARD.encode(octets)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("the folder can be listed").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}
