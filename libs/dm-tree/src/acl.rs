//! Access control lists (DM TND 1.2, section 7.7.1).

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

use crate::error::AclError;

/// A right that a list gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum AclCommand {
    /// Create children.
    Add,
    /// Delete the node.
    Delete,
    /// Run the node.
    Exec,
    /// Read the node.
    Get,
    /// Overwrite the node, and rule over who may what.
    Replace,
}

impl AclCommand {
    /// All of them, in the order they are written.
    pub const ALL: [Self; 5] = [Self::Add, Self::Delete, Self::Exec, Self::Get, Self::Replace];

    /// The specification's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "Add",
            Self::Delete => "Delete",
            Self::Exec => "Exec",
            Self::Get => "Get",
            Self::Replace => "Replace",
        }
    }
}

/// Who has one of the rights.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Servers {
    /// `*`
    Any,
    /// At least one.
    Ids(BTreeSet<Box<str>>),
}

/// The value of an `ACL` property: for each command, the servers that may. Empty means: as the parent says.
///
/// ```
/// use dm_tree::{Acl, AclCommand};
///
/// let acl = Acl::parse("Get=*&Replace=ops.example.net+dm.example.org")?;
/// assert!(acl.allows(AclCommand::Get, "anyone"));
/// assert!(acl.allows(AclCommand::Replace, "dm.example.org"));
/// assert!(!acl.allows(AclCommand::Delete, "dm.example.org"));
/// # Ok::<(), dm_tree::AclError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Acl([Option<Servers>; 5]);

impl Acl {
    /// No value of its own.
    pub const EMPTY: Self = Self([const { None }; 5]);

    /// Reads the text form. `*` beside names wins over them.
    ///
    /// # Errors
    ///
    /// [`AclError`] for anything outside the grammar; a command without servers is one.
    pub fn parse(text: &str) -> Result<Self, AclError> {
        let mut acl = Self::default();
        for entry in text.split('&').filter(|_| !text.is_empty()) {
            let (name, servers) = entry.split_once('=').ok_or_else(|| AclError::Entry(entry.into()))?;
            let command = AclCommand::ALL
                .into_iter()
                .find(|c| c.as_str() == name)
                .ok_or_else(|| AclError::Command(name.into()))?;
            let slot = &mut acl.0[command as usize];
            if slot.is_some() {
                return Err(AclError::Repeated(command.as_str()));
            }
            *slot = Some(parse_servers(servers)?);
        }
        Ok(acl)
    }

    /// The root's list on a device that says nothing else: everyone may add and read.
    pub fn root_default() -> Self {
        Self::default().with_any(AclCommand::Add).with_any(AclCommand::Get)
    }

    /// Everyone may do everything.
    pub fn open() -> Self {
        AclCommand::ALL.into_iter().fold(Self::default(), Self::with_any)
    }

    /// What a server gets on an interior node that it made where it may not replace.
    pub(crate) fn of_creator(server_id: &str) -> Self {
        let own = [AclCommand::Add, AclCommand::Delete, AclCommand::Replace];
        own.into_iter().fold(Self::default().with_any(AclCommand::Get), |acl, c| acl.with(c, server_id))
    }

    /// This list, and everyone may do this too.
    #[must_use]
    pub fn with_any(mut self, command: AclCommand) -> Self {
        self.0[command as usize] = Some(Servers::Any);
        self
    }

    /// This list, and that server may do this too.
    #[must_use]
    pub fn with(mut self, command: AclCommand, server_id: &str) -> Self {
        match &mut self.0[command as usize] {
            Some(Servers::Any) => {}
            Some(Servers::Ids(ids)) => {
                ids.insert(server_id.into());
            }
            slot @ None => *slot = Some(Servers::Ids([server_id.into()].into())),
        }
        self
    }

    /// Whether the property has no value, so that the parent's counts.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// Whether this list, taken as the one in force, lets a server do something.
    pub fn allows(&self, command: AclCommand, server_id: &str) -> bool {
        match &self.0[command as usize] {
            None => false,
            Some(Servers::Any) => true,
            Some(Servers::Ids(ids)) => ids.contains(server_id),
        }
    }

    /// Takes a server out, as when its account goes. A command nobody is left for goes with it.
    pub fn remove_server(&mut self, server_id: &str) {
        for slot in &mut self.0 {
            if let Some(Servers::Ids(ids)) = slot {
                ids.remove(server_id);
                if ids.is_empty() {
                    *slot = None;
                }
            }
        }
    }

    /// Whether a server is named, other than by `*`.
    pub fn names(&self, server_id: &str) -> bool {
        self.0.iter().flatten().any(|servers| match servers {
            Servers::Any => false,
            Servers::Ids(ids) => ids.contains(server_id),
        })
    }

    pub(crate) fn has(&self, command: AclCommand) -> bool {
        self.0[command as usize].is_some()
    }
}

impl fmt::Display for Acl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for command in AclCommand::ALL {
            let Some(servers) = &self.0[command as usize] else { continue };
            write!(f, "{separator}{}=", command.as_str())?;
            match servers {
                Servers::Any => f.write_str("*")?,
                Servers::Ids(ids) => {
                    for (index, id) in ids.iter().enumerate() {
                        write!(f, "{}{id}", if index == 0 { "" } else { "+" })?;
                    }
                }
            }
            separator = "&";
        }
        Ok(())
    }
}

fn parse_servers(text: &str) -> Result<Servers, AclError> {
    let mut any = false;
    let mut ids = BTreeSet::new();
    for id in text.split('+') {
        if id == "*" {
            any = true;
        } else if !id.is_empty() && id.bytes().all(|b| b.is_ascii_graphic() && !b"=&*+".contains(&b)) {
            ids.insert(id.into());
        } else {
            return Err(AclError::Server(id.into()));
        }
    }
    Ok(if any { Servers::Any } else { Servers::Ids(ids) })
}
