//! The tree of one device, as the device keeps it.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    Acl, AclCommand, Leaf, Node, TreeError, Uri, UriLimits,
    node::{Access, Kind, Scope, right_of},
    uri,
};

/// What one device's tree takes and supports. Shared by all devices of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// Limits of addresses, as in `./DevDetail/URI`.
    pub uri: UriLimits,
    /// `?list=Struct`, `StructData` and `TNDS` are answered, else 406.
    pub lists: bool,
    /// Add and Replace take TNDS documents, else 415.
    pub tnds: bool,
    /// Add makes interior nodes that are missing on the way, else 404.
    pub implicit_add: bool,
    /// Octets of one value at most, else 413.
    pub value_octets_max: usize,
    /// Nodes at most, else 420.
    pub nodes_max: usize,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            uri: UriLimits::default(),
            lists: true,
            tnds: true,
            implicit_add: true,
            value_octets_max: 1 << 20,
            nodes_max: 1 << 16,
        }
    }
}

/// Who asks, and when.
#[derive(Clone, Copy, Debug)]
pub struct Actor<'a> {
    /// The identifier that the server has authenticated as.
    pub server_id: &'a str,
    /// For time stamps.
    pub now: Timestamp,
}

/// A management tree.
///
/// Cloning costs two reference counts: the clone shares every node until one of the two changes it, and then only
/// the nodes on the way to the change are copied. That is how a command is undone (keep a clone, put it back), and
/// how the devices of one model share what they have in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree {
    pub(crate) root: Arc<Node>,
    pub(crate) rules: Arc<Rules>,
}

impl Default for Tree {
    fn default() -> Self {
        Self::new(Arc::new(Rules::default()))
    }
}

/// What the device does with its own tree: no rights are asked, and scope and access type do not bind.
impl Tree {
    /// Only a root, with the default access control list (`Add=*&Get=*`).
    pub fn new(rules: Arc<Rules>) -> Self {
        let root = Node::interior()
            .permanent(Access::ADD | Access::GET | Access::REPLACE)
            .with_acl(Acl::root_default());
        Self { root: Arc::new(root), rules }
    }

    /// What this tree takes and supports.
    pub fn rules(&self) -> &Arc<Rules> {
        &self.rules
    }

    /// The root.
    pub fn root(&self) -> &Node {
        &self.root
    }

    /// The node at an address in any of its forms, without a query.
    pub fn node(&self, uri: &str) -> Option<&Node> {
        self.find(uri::segments(uri::normalise(uri)))
    }

    /// What the leaf at an address holds.
    pub fn leaf(&self, uri: &str) -> Option<&Leaf> {
        self.node(uri)?.as_leaf()
    }

    /// The value of the leaf at an address, as text.
    pub fn text(&self, uri: &str) -> Option<&str> {
        self.leaf(uri)?.as_str()
    }

    /// Puts a node, with all below it, in place of what is there. Parents that are missing become permanent interior
    /// nodes that can be read. The root's own children stay when the root is put.
    ///
    /// # Errors
    ///
    /// An address that is none, or one below a leaf.
    pub fn install(&mut self, uri: &str, mut node: Node, now: Timestamp) -> Result<(), TreeError> {
        let uri = Uri::parse(uri::normalise(uri), &UriLimits::default())?;
        let Some(name) = uri.name() else {
            for child in self.root.children() {
                node.put(Arc::new(child.clone()));
            }
            self.root = Arc::new(node);
            return Ok(());
        };
        node.name = name.into();
        node.tstamp = now.as_second();
        let mut parent = Arc::make_mut(&mut self.root);
        for segment in uri.parent().iter().flat_map(Uri::segments) {
            if !parent.is_interior() {
                return Err(TreeError::NotAllowed { node: uri.as_str().into(), what: "an interior parent" });
            }
            if parent.child(segment).is_none() {
                let mut made = Node::interior().permanent(Access::GET);
                made.name = segment.into();
                made.tstamp = now.as_second();
                parent.put(Arc::new(made));
            }
            parent = parent.child_mut(segment).ok_or_else(|| TreeError::NotFound(segment.into()))?;
        }
        if !parent.is_interior() {
            return Err(TreeError::NotAllowed { node: uri.as_str().into(), what: "an interior parent" });
        }
        parent.put(Arc::new(node));
        Ok(())
    }

    /// Overwrites the value of a leaf that is there. One that is equal already stays untouched.
    ///
    /// # Errors
    ///
    /// There is no such leaf.
    pub fn set(&mut self, uri: &str, value: &[u8], now: Timestamp) -> Result<(), TreeError> {
        let uri = uri::normalise(uri);
        match self.leaf(uri) {
            None => return Err(TreeError::NotFound(uri.into())),
            Some(leaf) if *leaf.value == *value => return Ok(()),
            Some(_) => {}
        }
        self.change(uri, now, |node| {
            if let Kind::Leaf(leaf) = &mut node.kind {
                leaf.value = value.into();
            }
        });
        Ok(())
    }

    /// Takes a node out, with all below it. The root stays.
    pub fn remove(&mut self, uri: &str) -> Option<Node> {
        let uri = Uri::parse(uri::normalise(uri), &UriLimits::default()).ok()?;
        let (name, parent) = (uri.name()?, uri.parent()?);
        self.find(uri.segments())?;
        let taken = self.find_mut(parent.segments())?.take(name)?;
        Some(Arc::unwrap_or_clone(taken))
    }

    /// Removes a server from every access control list, as when its account goes. A right that nobody is left for
    /// goes with it; at the root it goes back to everyone.
    pub fn remove_server(&mut self, server_id: &str) {
        let before = self.root.acl().cloned().unwrap_or_default();
        Arc::make_mut(&mut self.root).remove_server(server_id);
        let mut acl = self.root.acl().cloned().unwrap_or_default();
        for command in AclCommand::ALL {
            if before.has(command) && !acl.has(command) {
                acl = acl.with_any(command);
            }
        }
        if Some(&acl) != self.root.acl() {
            Arc::make_mut(&mut self.root).set_acl(acl);
        }
    }

    /// Every node with its normalised address, parents before children, by name.
    pub fn walk(&self) -> impl Iterator<Item = (String, &Node)> {
        self.walk_from(".")
    }

    /// The same from a node on; nothing where there is none.
    pub fn walk_from(&self, uri: &str) -> impl Iterator<Item = (String, &Node)> {
        let from = uri::normalise(uri);
        let mut stack: Vec<_> = self.node(from).map(|node| (from.to_owned(), node)).into_iter().collect();
        std::iter::from_fn(move || {
            let (at, node) = stack.pop()?;
            let below: Vec<_> = node.children().map(|c| (uri::join(&at, c.name()), c)).collect();
            stack.extend(below.into_iter().rev());
            Some((at, node))
        })
    }

    /// Nodes, with the root.
    pub fn count(&self) -> usize {
        self.root.count()
    }

    /// The access control list in force at an address: the node's own, or that of the nearest node above with one.
    /// For an address without a node, the list that a node there would inherit.
    pub fn acl_in_force(&self, uri: &str) -> &Acl {
        const NOTHING: &Acl = &Acl::EMPTY;
        let mut node = &self.root;
        let mut acl = node.acl().unwrap_or(NOTHING);
        for segment in uri::segments(uri::normalise(uri)) {
            let Some(child) = node.child(segment) else { break };
            node = child;
            acl = node.acl().unwrap_or(acl);
        }
        acl
    }
}

/// What the commands share.
impl Tree {
    pub(crate) fn find<'a>(&self, segments: impl Iterator<Item = &'a str>) -> Option<&Node> {
        let mut node = &self.root;
        for segment in segments {
            node = node.child(segment)?;
        }
        Some(node)
    }

    // Copies the nodes on the way that are shared, so look with `find` first.
    pub(crate) fn find_mut<'a>(&mut self, segments: impl Iterator<Item = &'a str>) -> Option<&mut Node> {
        let mut node = Arc::make_mut(&mut self.root);
        for segment in segments {
            node = node.child_mut(segment)?;
        }
        Some(node)
    }

    pub(crate) fn change(&mut self, uri: &str, now: Timestamp, change: impl FnOnce(&mut Node)) {
        if let Some(node) = self.find_mut(uri::segments(uri)) {
            change(node);
            node.touch(now);
        }
    }

    pub(crate) fn existing(&self, uri: &Uri) -> Result<&Node, TreeError> {
        self.find(uri.segments()).ok_or_else(|| TreeError::NotFound(uri.as_str().into()))
    }

    /// The node, if its access type and the lists in force let this server do that to it.
    pub(crate) fn permitted(&self, actor: Actor<'_>, uri: &Uri, access: Access) -> Result<&Node, TreeError> {
        let node = self.existing(uri)?;
        if !node.access.has(access) {
            let what = "a node that takes this command";
            return Err(TreeError::NotAllowed { node: uri.as_str().into(), what });
        }
        self.allowed(actor, uri, right_of(access))?;
        Ok(node)
    }

    pub(crate) fn allowed(&self, actor: Actor<'_>, uri: &Uri, right: AclCommand) -> Result<(), TreeError> {
        if self.acl_in_force(uri.as_str()).allows(right, actor.server_id) {
            return Ok(());
        }
        Err(TreeError::Denied { node: uri.as_str().into(), command: right.as_str() })
    }

    pub(crate) fn room_for(&self, nodes: usize) -> Result<(), TreeError> {
        let max = self.rules.nodes_max;
        if self.count().saturating_add(nodes) > max { Err(TreeError::Full { max }) } else { Ok(()) }
    }

    pub(crate) fn dynamic(&self, uri: &Uri, what: &'static str) -> Result<(), TreeError> {
        match self.existing(uri)?.scope {
            Scope::Dynamic => Ok(()),
            Scope::Permanent => Err(TreeError::NotAllowed { node: uri.as_str().into(), what }),
        }
    }
}
