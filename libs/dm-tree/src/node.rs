//! One node of a tree, and what its device lets servers do with it.

use std::{ops, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Acl, AclCommand, Format, Leaf, Property};

/// Commands that a node takes, whoever asks (`AccessType` of the device description).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Access(u8);

impl Access {
    /// None.
    pub const NONE: Self = Self(0);
    /// Children can be added.
    pub const ADD: Self = Self(1);
    /// It can be copied.
    pub const COPY: Self = Self(2);
    /// It can be deleted by its own address.
    pub const DELETE: Self = Self(4);
    /// It can be run.
    pub const EXEC: Self = Self(8);
    /// It can be read.
    pub const GET: Self = Self(16);
    /// It can be overwritten.
    pub const REPLACE: Self = Self(32);
    /// All but Exec: what a node has that a server made.
    pub const DATA: Self = Self(1 | 2 | 4 | 16 | 32);

    /// Whether everything in `other` is in `self`.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl ops::BitOr for Access {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Whether a node is part of the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// Made by the manufacturer: no server deletes or renames it.
    Permanent,
    /// Comes and goes by command.
    #[default]
    Dynamic,
}

/// A node. Cloning it shares everything below it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    pub(crate) name: Arc<str>,
    pub(crate) kind: Kind,
    // Rare on most nodes, so that a node without stays small.
    pub(crate) rare: Option<Arc<Rare>>,
    // Seconds since 1970.
    pub(crate) tstamp: i64,
    pub(crate) ver_no: u16,
    pub(crate) scope: Scope,
    pub(crate) access: Access,
}

/// What only some nodes have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rare {
    pub(crate) acl: Acl,
    pub(crate) title: Box<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    Interior {
        type_: Option<Box<str>>,
        // By name.
        children: Vec<Arc<Node>>,
    },
    Leaf(Leaf),
}

impl Node {
    /// An interior node without children: dynamic, and open to everything but Exec.
    pub fn interior() -> Self {
        Self::of(Kind::Interior { type_: None, children: Vec::new() })
    }

    /// A leaf: dynamic, and open to everything but Exec. The format [`Format::Node`] becomes `null`.
    pub fn leaf(mut leaf: Leaf) -> Self {
        if leaf.format == Format::Node {
            leaf.format = Format::Null;
        }
        Self::of(Kind::Leaf(leaf))
    }

    fn of(kind: Kind) -> Self {
        Self {
            name: Arc::from(""),
            kind,
            rare: None,
            tstamp: 0,
            ver_no: 0,
            scope: Scope::Dynamic,
            access: Access::DATA,
        }
    }

    /// This node as part of the device: permanent, and open to just these commands.
    #[must_use]
    pub fn permanent(mut self, access: Access) -> Self {
        self.scope = Scope::Permanent;
        self.access = access;
        self
    }

    /// This node, open to just these commands.
    #[must_use]
    pub fn with_access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// This node with an access control list of its own.
    #[must_use]
    pub fn with_acl(mut self, acl: Acl) -> Self {
        self.set_acl(acl);
        self
    }

    /// This node with a media type (a leaf), or a management object's id (an interior node).
    #[must_use]
    pub fn with_type(mut self, type_: &str) -> Self {
        self.set_type((!type_.is_empty()).then_some(type_));
        self
    }

    /// The last segment of its address; empty for the root.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What a leaf holds; `None` for an interior node.
    pub fn as_leaf(&self) -> Option<&Leaf> {
        match &self.kind {
            Kind::Leaf(leaf) => Some(leaf),
            Kind::Interior { .. } => None,
        }
    }

    /// The children of an interior node, by name; none for a leaf.
    pub fn children(&self) -> impl ExactSizeIterator<Item = &Self> {
        let children: &[Arc<Self>] = match &self.kind {
            Kind::Leaf(_) => &[],
            Kind::Interior { children, .. } => children,
        };
        children.iter().map(AsRef::as_ref)
    }

    /// Whether it is interior.
    pub fn is_interior(&self) -> bool {
        matches!(self.kind, Kind::Interior { .. })
    }

    /// The format; [`Format::Node`] for an interior node.
    pub fn format(&self) -> Format {
        self.as_leaf().map_or(Format::Node, |leaf| leaf.format)
    }

    /// The media type or management object's id, where it is not the default.
    pub fn type_(&self) -> Option<&str> {
        match &self.kind {
            Kind::Leaf(leaf) => leaf.mime.as_deref(),
            Kind::Interior { type_, .. } => type_.as_deref(),
        }
    }

    /// Whether a server may delete or rename it.
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// The commands it takes.
    pub fn access(&self) -> Access {
        self.access
    }

    /// Its own access control list; `None` where the parent's counts.
    pub fn acl(&self) -> Option<&Acl> {
        self.rare.as_ref().map(|rare| &rare.acl).filter(|acl| !acl.is_empty())
    }

    /// The title; empty where there is none.
    pub fn title(&self) -> &str {
        self.rare.as_ref().map_or("", |rare| &rare.title)
    }

    /// How often it changed since it was made, modulo 65,536.
    pub fn ver_no(&self) -> u16 {
        self.ver_no
    }

    /// When it last changed, in the form `YYYYMMDDThhmmssZ`.
    pub fn tstamp(&self) -> String {
        let stamp = Timestamp::from_second(self.tstamp).unwrap_or(Timestamp::UNIX_EPOCH);
        stamp.strftime("%Y%m%dT%H%M%SZ").to_string()
    }

    /// A property as its text; `None` for one that this kind of node does not have.
    pub fn property(&self, property: Property) -> Option<String> {
        Some(match property {
            Property::Acl => self.acl().map(ToString::to_string).unwrap_or_default(),
            Property::Format => self.format().to_string(),
            Property::Name => self.name.to_string(),
            Property::Size => self.as_leaf()?.value.len().to_string(),
            Property::Title => self.title().to_owned(),
            Property::TStamp => self.tstamp(),
            Property::Type => self.type_().unwrap_or(self.type_default()).to_owned(),
            Property::VerNo => self.ver_no.to_string(),
        })
    }

    pub(crate) fn type_default(&self) -> &'static str {
        if self.is_interior() { "" } else { "text/plain" }
    }

    pub(crate) fn child(&self, name: &str) -> Option<&Arc<Self>> {
        let Kind::Interior { children, .. } = &self.kind else { return None };
        children.get(position(children, name).ok()?)
    }

    pub(crate) fn child_mut(&mut self, name: &str) -> Option<&mut Self> {
        let Kind::Interior { children, .. } = &mut self.kind else { return None };
        let index = position(children, name).ok()?;
        children.get_mut(index).map(Arc::make_mut)
    }

    /// Puts a child, in place of one of its name. Does nothing to a leaf.
    pub(crate) fn put(&mut self, child: Arc<Self>) {
        let Kind::Interior { children, .. } = &mut self.kind else { return };
        match position(children, &child.name) {
            Ok(index) => children[index] = child,
            Err(index) => {
                // A fleet holds many trees, so no room is kept for children that may never come.
                children.reserve_exact(1);
                children.insert(index, child);
            }
        }
    }

    pub(crate) fn take(&mut self, name: &str) -> Option<Arc<Self>> {
        let Kind::Interior { children, .. } = &mut self.kind else { return None };
        let index = position(children, name).ok()?;
        Some(children.remove(index))
    }

    pub(crate) fn set_acl(&mut self, acl: Acl) {
        if !acl.is_empty() || self.rare.is_some() {
            self.rare_mut().acl = acl;
            self.shrink();
        }
    }

    pub(crate) fn set_title(&mut self, title: &str) {
        if !title.is_empty() || self.rare.is_some() {
            self.rare_mut().title = title.into();
            self.shrink();
        }
    }

    pub(crate) fn set_type(&mut self, new: Option<&str>) {
        match &mut self.kind {
            Kind::Interior { type_, .. } => *type_ = new.map(Into::into),
            Kind::Leaf(leaf) => leaf.mime = new.filter(|t| *t != "text/plain").map(Into::into),
        }
    }

    pub(crate) fn touch(&mut self, now: Timestamp) {
        self.tstamp = now.as_second();
        self.ver_no = self.ver_no.wrapping_add(1);
    }

    /// This node and all below it.
    pub(crate) fn count(&self) -> usize {
        1 + self.children().map(Self::count).sum::<usize>()
    }

    fn rare_mut(&mut self) -> &mut Rare {
        Arc::make_mut(self.rare.get_or_insert_default())
    }

    fn shrink(&mut self) {
        if self.rare.as_ref().is_some_and(|rare| **rare == Rare::default()) {
            self.rare = None;
        }
    }

    pub(crate) fn remove_server(&mut self, server_id: &str) {
        if let Some(acl) = self.acl().filter(|acl| acl.names(server_id)) {
            let mut acl = acl.clone();
            acl.remove_server(server_id);
            self.set_acl(acl);
        }
        let Kind::Interior { children, .. } = &mut self.kind else { return };
        for child in children.iter_mut().filter(|child| child.names(server_id)) {
            Arc::make_mut(child).remove_server(server_id);
        }
    }

    fn names(&self, server_id: &str) -> bool {
        self.acl().is_some_and(|acl| acl.names(server_id))
            || self.children().any(|child| child.names(server_id))
    }
}

fn position(children: &[Arc<Node>], name: &str) -> Result<usize, usize> {
    children.binary_search_by(|child| (*child.name).cmp(name))
}

/// The right a command needs, and the access type that must have it.
pub(crate) fn right_of(access: Access) -> AclCommand {
    match access {
        Access::ADD => AclCommand::Add,
        Access::DELETE => AclCommand::Delete,
        Access::EXEC => AclCommand::Exec,
        Access::REPLACE => AclCommand::Replace,
        _ => AclCommand::Get,
    }
}
