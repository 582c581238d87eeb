//! Commands that are out, and how the device's Statuses find them.

use serde::{Deserialize, Serialize};

use super::{Draft, DraftItem, DraftValue, Tag};

/// A command that was sent, with all that is inside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sent {
    pub(crate) msg_id: u32,
    /// Of the command itself; those inside it have the numbers that follow, outer before inner.
    pub(crate) cmd_id: u32,
    pub(crate) tag: Tag,
    pub(crate) draft: Draft,
    /// One for the command and for each inside it, in the order of their `CmdID`s.
    pub(crate) answers: Vec<Answer>,
    /// The last chunk of a large object, or one of several commands a Get was split into.
    pub(crate) part: Part,
}

/// What a sent command is a part of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Part {
    /// It is whole.
    #[default]
    Whole,
    /// A chunk of a large object, not the last.
    Chunk,
    /// Some of the items of a Get: its outcome is told item by item.
    Items,
}

/// What the device said about one command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// A Status for all of it.
    pub(crate) whole: bool,
    /// Statuses for these of its items.
    pub(crate) items: Vec<u16>,
    /// A value came.
    pub(crate) has_results: bool,
    /// A 401 or 407 beside that of our header: it did not run, and goes out again with other credentials.
    pub(crate) refused: bool,
}

impl Answer {
    /// Nothing is known that would keep the command from being sent again.
    pub(crate) fn is_empty(&self) -> bool {
        !self.whole && self.items.is_empty() && !self.has_results
    }
}

impl Sent {
    /// Whether a `CmdRef` in an answer to this message is for this command or one inside it, and which.
    pub(crate) fn position(&self, msg_id: Option<u32>, cmd_ref: u32) -> Option<usize> {
        if msg_id.is_some_and(|msg_id| msg_id != self.msg_id) {
            return None;
        }
        let offset = usize::try_from(cmd_ref.checked_sub(self.cmd_id)?).ok()?;
        (offset < self.answers.len()).then_some(offset)
    }

    /// The tag and command at a position.
    pub(crate) fn at(&self, position: usize) -> Option<(Tag, &Draft)> {
        let mut left = position;
        find(self.tag, &self.draft, &mut left)
    }

    /// Takes values out of the record that will not be sent again.
    pub(crate) fn forget_values(&mut self) {
        forget(&mut self.draft);
    }
}

fn find<'a>(tag: Tag, draft: &'a Draft, left: &mut usize) -> Option<(Tag, &'a Draft)> {
    if *left == 0 {
        return Some((tag, draft));
    }
    *left -= 1;
    for (tag, inner) in draft.inner() {
        let size = inner.size();
        if *left < size {
            return find(*tag, inner, left);
        }
        *left -= size;
    }
    None
}

fn forget(draft: &mut Draft) {
    match draft {
        Draft::Add(item) | Draft::Replace(item) => {
            if let DraftValue::Inline(value) = &mut item.value {
                *value = Vec::new();
            }
        }
        Draft::Sequence(inner) | Draft::Atomic(inner) => {
            for (_, draft) in inner {
                forget(draft);
            }
        }
        _ => {}
    }
}

impl Draft {
    /// The commands directly inside.
    pub(crate) fn inner(&self) -> &[(Tag, Self)] {
        match self {
            Self::Sequence(inner) | Self::Atomic(inner) => inner,
            _ => &[],
        }
    }

    /// How many commands it is, with all inside.
    pub(crate) fn size(&self) -> usize {
        1 + self.inner().iter().map(|(_, draft)| draft.size()).sum::<usize>()
    }

    /// How many items a Status may name one by one.
    pub(crate) fn item_count(&self) -> usize {
        match self {
            Self::Get(uris) => uris.len(),
            _ => 1,
        }
    }

    /// Which of its items an address names; either side may have a leading `./` or not.
    pub(crate) fn item_of(&self, uri: &str) -> Option<usize> {
        let Self::Get(uris) = self else { return None };
        let wanted = dm_tree::normalise(uri);
        uris.iter().position(|uri| dm_tree::normalise(uri) == wanted)
    }

    /// The item of an Add or Replace.
    pub(crate) fn item(&self) -> Option<&DraftItem> {
        match self {
            Self::Add(item) | Self::Replace(item) => Some(item),
            _ => None,
        }
    }
}
