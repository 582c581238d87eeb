//! Finding the FUMO node of a device that was never asked: by `?list=Struct`, else level by level.

use dm_tree::{Format, Leaf};
use serde::{Deserialize, Serialize};

use super::{
    FirmwareMethod,
    work::{Nodes, names},
};
use crate::fumo;

/// Nodes below a root that are looked into, at most this deep.
const DEPTH_MAX: u8 = 2;
/// Nodes asked for in one package.
const LEVEL_NODES_MAX: usize = 32;
/// Parents that are remembered from a list.
const CANDIDATES_MAX: usize = 64;
/// A longer address is passed over.
const URI_BYTES_MAX: usize = 512;

/// Objects that are something else.
const STANDARD: [&str; 6] = ["DMAcc", "DevDetail", "DevInfo", "Inbox", "SyncML", "SCOMO"];

/// A search on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Locator {
    roots: Vec<String>,
    /// The operator named the roots, so nothing else is looked at.
    roots_given: bool,
    phase: Phase,
    /// Nodes for the next level.
    below: Vec<String>,
    candidates: Vec<Candidate>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    Struct,
    Level(u8),
}

/// A node that has children of FUMO, or its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Candidate {
    pub uri: String,
    pub nodes: Nodes,
    has_moi: bool,
}

/// What a search wants next.
pub(super) enum Next {
    /// These lists.
    Struct(Vec<String>),
    /// These nodes' children.
    Level(Vec<String>),
    /// Nothing: all has been seen.
    Over,
}

impl Locator {
    /// A search under `roots`, or the usual ones, and what it wants first.
    pub(super) fn begin(roots: &[String]) -> (Self, Next) {
        let roots_given = !roots.is_empty();
        let roots: Vec<String> = if roots_given {
            roots.iter().map(|root| super::normalised(root).to_owned()).collect()
        } else {
            fumo::USUAL_ROOTS.iter().map(|&root| root.to_owned()).collect()
        };
        let lists = roots.iter().map(|root| format!("{root}?list=Struct")).collect();
        let locator =
            Self { roots, roots_given, phase: Phase::Struct, below: Vec::new(), candidates: Vec::new() };
        (locator, Next::Struct(lists))
    }

    /// Takes in a node of a list, or an interior node with its children's names.
    pub(super) fn handle_result(&mut self, uri: &str, leaf: &Leaf) {
        if uri.len() > URI_BYTES_MAX {
            return;
        }
        let is_interior = leaf.format == Format::Node;
        if is_interior
            && leaf.mime.as_deref().is_some_and(|type_| type_.contains("oma-fumo"))
            && let Some(candidate) = self.candidate(uri)
        {
            candidate.has_moi = true;
        }
        if self.phase == Phase::Struct
            && let Some((parent, name)) = uri.rsplit_once('/')
            && Nodes::of([name]) != Nodes::default()
            && let Some(candidate) = self.candidate(parent)
        {
            candidate.nodes.note(name);
        }
        if is_interior {
            self.handle_children(uri, leaf);
        }
    }

    fn handle_children(&mut self, uri: &str, leaf: &Leaf) {
        let nodes = Nodes::of(names(leaf));
        if nodes.is_fumo() {
            if let Some(candidate) = self.candidate(uri) {
                candidate.nodes = nodes;
            }
            return;
        }
        let Phase::Level(depth) = self.phase else { return };
        if depth >= DEPTH_MAX {
            return;
        }
        // Of the rest of the tree only what may be FUMO by its name is followed, at the first level or the second.
        let is_elsewhere = !uri.contains('/') && !sounds_like_firmware(uri) && !self.is_root(uri);
        for name in names(leaf) {
            let child = if uri == "." {
                if self.is_root(name) || STANDARD.contains(&name) {
                    continue;
                }
                name.to_owned()
            } else if is_elsewhere && !sounds_like_firmware(name) {
                continue;
            } else {
                format!("{uri}/{name}")
            };
            if self.below.len() < LEVEL_NODES_MAX && child.len() <= URI_BYTES_MAX {
                self.below.push(child);
            }
        }
    }

    fn is_root(&self, uri: &str) -> bool {
        self.roots.iter().any(|root| root == uri)
    }

    fn candidate(&mut self, uri: &str) -> Option<&mut Candidate> {
        let at = match self.candidates.iter().position(|candidate| candidate.uri == uri) {
            Some(at) => at,
            None if self.candidates.len() < CANDIDATES_MAX => {
                let candidate = Candidate { uri: uri.to_owned(), nodes: Nodes::default(), has_moi: false };
                self.candidates.push(candidate);
                self.candidates.len() - 1
            }
            None => return None,
        };
        self.candidates.get_mut(at)
    }

    /// The best of what has been seen so far: one that can do what is wanted, one that has FUMO's id, the first.
    pub(super) fn found(&self, method: &FirmwareMethod) -> Option<&Candidate> {
        let able = |nodes: Nodes| super::plan::choose(method, nodes).is_some();
        self.candidates
            .iter()
            .filter(|candidate| candidate.has_moi || candidate.nodes.is_fumo())
            .min_by_key(|candidate| (!able(candidate.nodes), !candidate.has_moi))
    }

    /// Nothing was found by what was asked for last: what comes next.
    pub(super) fn next(&mut self) -> Next {
        match self.phase {
            Phase::Struct => {
                self.phase = Phase::Level(0);
                let mut nodes = self.roots.clone();
                if !self.roots_given {
                    nodes.push(".".to_owned());
                }
                Next::Level(nodes)
            }
            Phase::Level(_) if self.below.is_empty() => Next::Over,
            Phase::Level(depth) => {
                self.phase = Phase::Level(depth + 1);
                Next::Level(std::mem::take(&mut self.below))
            }
        }
    }

    /// Where was looked, for the reason of having found nothing.
    pub(super) fn looked_at(&self) -> String {
        let roots: Vec<_> = self.roots.iter().map(|root| super::shown(root)).collect();
        roots.join(", ")
    }
}

fn sounds_like_firmware(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["fumo", "fwupdate", "firmware", "fota"].iter().any(|word| name.contains(word))
}
