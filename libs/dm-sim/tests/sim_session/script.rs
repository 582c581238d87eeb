//! What the server wants of a device: a list of commands by seed, and what became of each.

use std::collections::BTreeMap;

use dm_protocol::server::{Draft, DraftItem, DraftValue, Event, Tag};
use dm_sim::Chance;
use dm_tree::Format;

/// Commands that go in one package, as far as they fit.
const PACKAGE: usize = 4;

/// The commands of one session, and their outcomes. It is stored with the session's record, as an agenda is.
#[derive(Clone, Default)]
pub(crate) struct Script {
    pub(crate) left: Vec<(Tag, Draft)>,
    /// What was enqueued: the command of each tag, also of those inside groups.
    pub(crate) enqueued: BTreeMap<Tag, Draft>,
    /// The targets (`None` is all) and codes told of each tag.
    pub(crate) outcomes: BTreeMap<Tag, Vec<(Option<String>, u16)>>,
    pub(crate) results: Vec<(Tag, String, dm_tree::Leaf)>,
}

impl Script {
    pub(crate) fn by(chance: &mut Chance, next_tag: &mut Tag, length: u64) -> Self {
        let count = chance.below(length + 1);
        let mut left = Vec::new();
        for _ in 0..count {
            let draft = draft(chance, next_tag, 0, false);
            left.push((tag(next_tag), draft));
        }
        left.reverse();
        Self { left, ..Self::default() }
    }

    pub(crate) fn next_package(&mut self) -> Vec<(Tag, Draft)> {
        let from = self.left.len().saturating_sub(PACKAGE);
        let mut package = self.left.split_off(from);
        package.reverse();
        for (tag, draft) in &package {
            self.note(*tag, draft);
        }
        package
    }

    fn note(&mut self, tag: Tag, draft: &Draft) {
        self.enqueued.insert(tag, draft.clone());
        if let Draft::Sequence(inner) | Draft::Atomic(inner) = draft {
            for (tag, draft) in inner {
                self.note(*tag, draft);
            }
        }
    }

    pub(crate) fn hear(&mut self, event: &Event) {
        match event {
            Event::Status { tag, target, code, .. } => {
                self.outcomes.entry(*tag).or_default().push((target.clone(), code.0));
            }
            Event::Result { tag, uri, leaf } => self.results.push((*tag, uri.clone(), leaf.clone())),
            _ => {}
        }
    }

    /// Every command that was enqueued has one outcome, or one for each of its targets, and nothing else has any.
    pub(crate) fn check_outcomes(&self, seed: u64) {
        for (tag, draft) in &self.enqueued {
            let told = self.outcomes.get(tag).map(Vec::as_slice).unwrap_or_default();
            let whole = told.iter().filter(|(target, _)| target.is_none()).count();
            // A value that was lost on its way is told beside the outcome of its Get.
            let lost = |code: u16| matches!(code, 411 | 413 | 424);
            let named: Vec<&str> = told
                .iter()
                .filter(|(_, code)| !lost(*code))
                .filter_map(|(target, _)| target.as_deref())
                .collect();
            let is_one = whole == 1 && named.is_empty();
            let is_each = whole == 0 && matches!(draft, Draft::Get(uris) if told.len() >= uris.len());
            assert!(is_one || is_each, "seed {seed}: command {tag} {draft:?} has the outcomes {told:?}");
        }
        for tag in self.outcomes.keys() {
            assert!(
                self.enqueued.contains_key(tag),
                "seed {seed}: an outcome of a command that was never sent: {tag}"
            );
        }
    }
}

fn tag(next_tag: &mut Tag) -> Tag {
    *next_tag += 1;
    *next_tag
}

/// The octets of the artifact that a run sends.
pub(crate) fn artifact() -> Vec<u8> {
    (0..12_000_u32).map(|index| (index * 7).to_le_bytes()[0]).collect()
}

fn draft(chance: &mut Chance, next_tag: &mut Tag, depth: u32, in_atomic: bool) -> Draft {
    const LEAVES: [&str; 8] = [
        "./DevDetail/FwV",
        "DevInfo",
        "./Log/300",
        "./Log/3000",
        "./Log/9000",
        "./Log/bin",
        "./Nothing",
        "./DevInfo/Man?prop=Format",
    ];
    let kind = chance.below(if depth < 2 { 12 } else { 9 });
    let number = *next_tag + 1;
    let node = format!("./Store/n{number}");
    match kind {
        0..=2 if !in_atomic => {
            let count = 1 + chance.below(4);
            let mut uris: Vec<&str> = Vec::new();
            for _ in 0..count {
                let uri = LEAVES[usize::try_from(chance.below(8)).unwrap()];
                if !uris.contains(&uri) {
                    uris.push(uri);
                }
            }
            Draft::Get(uris.into_iter().map(Into::into).collect())
        }
        3 if !in_atomic => {
            // What is counted by: SyncML 1.1 has no correlator.
            let name = format!("run-{number}");
            Draft::Exec { target: "./Run".into(), correlator: Some(name.clone()), data: Some(name) }
        }
        4 => Draft::Interact { code: 1101, options: String::new(), texts: vec!["Go on?".into()] },
        5 => Draft::Delete(format!("./Store/n{}", number.saturating_sub(chance.below(6) as u32)).into()),
        6 => Draft::Copy { source: "./Log/300".into(), target: "./Log/1".into() },
        9 => Draft::Sequence(inner(chance, next_tag, depth, in_atomic)),
        10 if !in_atomic => Draft::Atomic(inner(chance, next_tag, depth, true)),
        11 if depth == 0 => {
            let size = u64::try_from(artifact().len()).unwrap();
            add(node, Format::Bin, DraftValue::Artifact { digest: [7; 32], size })
        }
        _ => {
            let length = [10, 200, 3000, 8000][usize::try_from(chance.below(4)).unwrap()];
            let (format, unit) =
                if chance.hits(0.5) { (Format::Chr, "ä<b>&") } else { (Format::Bin, "\u{0}\u{1}x") };
            let value = unit.repeat(length / unit.len()).into_bytes();
            add(node, format, DraftValue::Inline(value))
        }
    }
}

fn add(node: String, format: Format, value: DraftValue) -> Draft {
    Draft::Add(DraftItem { target: node.into(), format, type_: None, value })
}

fn inner(chance: &mut Chance, next_tag: &mut Tag, depth: u32, in_atomic: bool) -> Vec<(Tag, Draft)> {
    let count = 1 + chance.below(3);
    let mut commands = Vec::new();
    for _ in 0..count {
        let draft = draft(chance, next_tag, depth + 1, in_atomic);
        commands.push((tag(next_tag), draft));
    }
    commands
}
