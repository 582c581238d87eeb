//! The commands of servers against a tree, each with its errors (DM Protocol 1.2; DM TND 1.2).

use std::{borrow::Cow, sync::Arc};

use base64::Engine as _;

use crate::{
    Acl, AclCommand, Actor, Format, GetTarget, Leaf, Node, Property, Tree, TreeError, Uri, UriError,
    node::{Access, Kind, Scope},
    tnds, uri,
};

/// What an Add or Replace carries, as its `Meta` and `Data` say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Input<'a> {
    /// `Meta/Format`, if there was one.
    pub format: Option<&'a str>,
    /// `Meta/Type`, if there was one.
    pub type_: Option<&'a str>,
    /// The octets of `Data`, not decoded: where the format says `b64` they are base64. `None` without `Data`.
    pub data: Option<&'a [u8]>,
}

/// One thing that a Get gives back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// As it is written in messages, with its query if it is a property or a document: `./A/B`.
    pub uri: String,
    /// The format; `None` for a property.
    pub format: Option<Format>,
    /// The media type or management object's id, where it is not the default.
    pub type_: Option<String>,
    /// The octets; `None` where only the structure was asked for.
    pub value: Option<Vec<u8>>,
}

/// The media type of a serialized tree in XML.
pub const TNDS_XML: &str = "application/vnd.syncml.dmtnds+xml";
/// The media type of a serialized tree in WBXML.
pub const TNDS_WBXML: &str = "application/vnd.syncml.dmtnds+wbxml";

impl Tree {
    /// Add: makes a node, or with a TNDS document a subtree.
    ///
    /// # Errors
    ///
    /// [`TreeError`]; the tree is then as it was.
    pub fn add(&mut self, actor: Actor<'_>, uri: &str, input: Input<'_>) -> Result<(), TreeError> {
        let uri = self.plain(uri)?;
        if is_tnds(input) {
            return self.add_document(actor, &uri, input);
        }
        let node = self.made(input)?;
        let before = self.clone();
        let result = self.add_node(actor, &uri, node);
        if result.is_err() {
            *self = before;
        }
        result
    }

    /// Replace: overwrites a leaf's value, a property (`?prop=ACL`, `Name` or `Title`), or with a TNDS document a subtree.
    ///
    /// # Errors
    ///
    /// [`TreeError`]; the tree is then as it was.
    pub fn replace(&mut self, actor: Actor<'_>, uri: &str, input: Input<'_>) -> Result<(), TreeError> {
        match GetTarget::parse(uri, &self.rules.uri)? {
            GetTarget::Value(uri) if is_tnds(input) => self.replace_document(actor, &uri, input),
            GetTarget::Value(uri) => self.replace_value(actor, &uri, input),
            GetTarget::Prop(uri, property) => {
                let text = std::str::from_utf8(input.data.unwrap_or_default());
                let text = text.map_err(|_| TreeError::Value("chr"))?;
                self.replace_property(actor, &uri, property, text)
            }
            list => Err(not_allowed(list.uri(), "a node or a property")),
        }
    }

    /// Delete: takes a dynamic node away, with all below it.
    ///
    /// # Errors
    ///
    /// [`TreeError`]; the tree is then as it was.
    pub fn delete(&mut self, actor: Actor<'_>, uri: &str) -> Result<(), TreeError> {
        let uri = self.plain(uri)?;
        self.dynamic(&uri, "a dynamic node")?;
        self.permitted(actor, &uri, Access::DELETE)?;
        self.remove(uri.as_str());
        Ok(())
    }

    /// Copy: makes the target leaf what the source leaf is, whether it was there or not.
    ///
    /// # Errors
    ///
    /// [`TreeError`]; the tree is then as it was.
    pub fn copy(&mut self, actor: Actor<'_>, source: &str, target: &str) -> Result<(), TreeError> {
        let (source, target) = (self.plain(source)?, self.plain(target)?);
        let from = self.permitted(actor, &source, Access::GET | Access::COPY)?;
        let Some(leaf) = from.as_leaf().cloned() else {
            return Err(TreeError::Forbidden { node: source.as_str().into(), what: "a leaf" });
        };
        if self.find(target.segments()).is_none() {
            let before = self.clone();
            let result = self.add_node(actor, &target, Node::leaf(leaf));
            if result.is_err() {
                *self = before;
            }
            return result;
        }
        let to = self.permitted(actor, &target, Access::REPLACE)?;
        let Some(old) = to.as_leaf() else {
            return Err(TreeError::Forbidden { node: target.as_str().into(), what: "a leaf" });
        };
        if to.scope == Scope::Permanent && (old.format, &old.mime) != (leaf.format, &leaf.mime) {
            return Err(not_allowed(&target, "a leaf of the same format and type"));
        }
        self.change(target.as_str(), actor.now, |node| node.kind = Kind::Leaf(leaf));
        Ok(())
    }

    /// Exec: whether this server may run that node. What running means is the device's to know.
    ///
    /// # Errors
    ///
    /// [`TreeError`] if it may not.
    pub fn check_exec(&self, actor: Actor<'_>, uri: &str) -> Result<Uri, TreeError> {
        let uri = self.plain(uri)?;
        self.permitted(actor, &uri, Access::EXEC)?;
        Ok(uri)
    }

    /// Get: a value, the children's names, a property, or a list.
    ///
    /// # Errors
    ///
    /// [`TreeError`]: nothing is read in part.
    pub fn get(&self, actor: Actor<'_>, uri: &str) -> Result<Vec<Reading>, TreeError> {
        let target = GetTarget::parse(uri, &self.rules.uri)?;
        let at = target.uri();
        if in_inbox(at) {
            return Err(not_allowed(at, "a node outside of the inbox"));
        }
        let is_list = !matches!(target, GetTarget::Value(_) | GetTarget::Prop(..));
        if is_list && !self.rules.lists {
            return Err(TreeError::Unsupported("lists"));
        }
        if let GetTarget::Prop(_, property) = target {
            return self.get_property(actor, at, property);
        }
        let node = self.permitted(actor, at, Access::GET)?;
        Ok(match target {
            GetTarget::Value(_) => vec![read(at, node, true)],
            GetTarget::Struct(_) => self.list(actor, at, false),
            GetTarget::StructData(_) => self.list(actor, at, true),
            GetTarget::Tnds { select, .. } => vec![Reading {
                uri: at.to_string(),
                format: Some(Format::Xml),
                type_: Some(TNDS_XML.to_owned()),
                value: Some(self.document(actor, at, select).into_bytes()),
            }],
            GetTarget::Prop(..) => Vec::new(),
        })
    }
}

impl Tree {
    /// An address that has no query.
    fn plain(&self, text: &str) -> Result<Uri, TreeError> {
        match GetTarget::parse(text, &self.rules.uri)? {
            GetTarget::Value(uri) => Ok(uri),
            query => Err(not_allowed(query.uri(), "a node, not a property or list")),
        }
    }

    fn made(&self, input: Input<'_>) -> Result<Node, TreeError> {
        let format = parse_format(input.format)?.unwrap_or_default();
        if format == Format::Node {
            if input.data.is_some_and(|data| !data.is_empty()) {
                return Err(TreeError::Incomplete("no value of an interior node"));
            }
            return Ok(Node::interior().with_type(input.type_.unwrap_or_default()));
        }
        let leaf = self.value(input, format, None)?;
        Ok(Node::leaf(leaf).with_type(input.type_.unwrap_or_default()))
    }

    /// The leaf that an input makes, of a format or in place of another leaf.
    fn value(&self, input: Input<'_>, format: Format, old: Option<&Leaf>) -> Result<Leaf, TreeError> {
        let data = match input.data {
            Some(data) => data,
            None if format == Format::Null => &[],
            None => return Err(TreeError::Incomplete("a value")),
        };
        // Base64 on the way is the form that octets have in XML; only a leaf that is base64 by nature keeps it.
        let keeps = old.is_some_and(|leaf| leaf.format == Format::B64);
        let (format, value) = match format {
            Format::B64 if !keeps => (Format::Bin, Cow::Owned(decode_base64(data)?)),
            _ => (format, Cow::Borrowed(data)),
        };
        let max = self.rules.value_octets_max;
        if value.len() > max {
            return Err(TreeError::TooLarge { max, octets: value.len() });
        }
        Ok(Leaf { format, mime: None, value: value.into() })
    }

    /// Adds a node, with the interior nodes that are missing on the way. Leaves the tree half done on an error.
    pub(crate) fn add_node(&mut self, actor: Actor<'_>, uri: &Uri, node: Node) -> Result<(), TreeError> {
        let Some(parent) = uri.parent() else { return Err(TreeError::Exists(".".into())) };
        if self.find(uri.segments()).is_some() {
            return Err(TreeError::Exists(uri.as_str().into()));
        }
        if self.find(parent.segments()).is_none() {
            if !self.rules.implicit_add {
                return Err(TreeError::NotFound(parent.as_str().into()));
            }
            self.add_node(actor, &parent, Node::interior()).map_err(|cause| match cause {
                TreeError::Parent { .. } => cause,
                _ => TreeError::Parent { node: parent.as_str().into(), cause: Box::new(cause) },
            })?;
        }
        let (at, mut node) = (self.existing(&parent)?, node);
        if !at.is_interior() {
            return Err(not_allowed(&parent, "an interior parent"));
        }
        self.permitted(actor, &parent, Access::ADD)?;
        self.room_for(node.count())?;
        if node.is_interior() && self.allowed(actor, &parent, AclCommand::Replace).is_err() {
            // Else its creator could not even put something into it.
            if node.acl().is_none() {
                node.set_acl(Acl::of_creator(actor.server_id));
            }
        }
        node.name = uri.name().unwrap_or_default().into();
        node.tstamp = actor.now.as_second();
        if let Some(parent) = self.find_mut(parent.segments()) {
            parent.put(Arc::new(node));
        }
        Ok(())
    }

    fn replace_value(&mut self, actor: Actor<'_>, uri: &Uri, input: Input<'_>) -> Result<(), TreeError> {
        let node = self.existing(uri)?;
        let Some(old) = node.as_leaf() else { return Err(not_allowed(uri, "a leaf")) };
        self.permitted(actor, uri, Access::REPLACE)?;
        let said = parse_format(input.format)?;
        if said == Some(Format::Node) {
            return Err(not_allowed(uri, "a leaf's format"));
        }
        let mut new = self.value(input, said.unwrap_or(old.format), Some(old))?;
        new.mime = match input.type_ {
            None => old.mime.clone(),
            Some("text/plain" | "") => None,
            Some(type_) => Some(type_.into()),
        };
        if node.scope == Scope::Permanent {
            // Servers name the defaults where they mean nothing by it.
            let is_same =
                said.is_none_or(|f| f == old.format || f == Format::Chr || new.format == old.format);
            let is_same_type = new.mime.is_none() || new.mime == old.mime;
            if !is_same || !is_same_type {
                return Err(not_allowed(uri, "the format and type of a permanent leaf"));
            }
            (new.format, new.mime) = (old.format, old.mime.clone());
        }
        self.change(uri.as_str(), actor.now, |node| node.kind = Kind::Leaf(new));
        Ok(())
    }

    fn replace_property(
        &mut self,
        actor: Actor<'_>,
        uri: &Uri,
        property: Property,
        text: &str,
    ) -> Result<(), TreeError> {
        match property {
            Property::Acl => self.replace_acl(actor, uri, text),
            Property::Name => self.rename(actor, uri, text),
            Property::Title => {
                self.permitted(actor, uri, Access::REPLACE)?;
                if text.len() > 255 {
                    return Err(TreeError::TooLarge { max: 255, octets: text.len() });
                }
                self.change(uri.as_str(), actor.now, |node| node.set_title(text));
                Ok(())
            }
            _ => {
                self.existing(uri)?;
                Err(not_allowed(uri, "a property that can be replaced"))
            }
        }
    }

    pub(crate) fn replace_acl(&mut self, actor: Actor<'_>, uri: &Uri, text: &str) -> Result<(), TreeError> {
        let is_interior = self.existing(uri)?.is_interior();
        let by_parent = match uri.parent() {
            Some(parent) => self.allowed(actor, &parent, AclCommand::Replace).is_ok(),
            None => false,
        };
        // The right over a leaf's list is the parent's to give.
        if !by_parent {
            if !is_interior {
                return Err(TreeError::Denied { node: uri.as_str().into(), command: "Replace" });
            }
            self.allowed(actor, uri, AclCommand::Replace)?;
        }
        let acl = Acl::parse(text)?;
        if uri.is_root() && acl.is_empty() {
            return Err(not_allowed(uri, "an access control list at the root"));
        }
        self.change(uri.as_str(), actor.now, |node| node.set_acl(acl));
        Ok(())
    }

    fn rename(&mut self, actor: Actor<'_>, uri: &Uri, text: &str) -> Result<(), TreeError> {
        self.dynamic(uri, "a dynamic node")?;
        self.permitted(actor, uri, Access::REPLACE)?;
        let name = uri::parse_segment(text, &self.rules.uri)?;
        let parent = uri.parent().unwrap_or_else(Uri::root);
        if uri.name() == Some(&*name) {
            return Ok(());
        }
        let target = parent.child(&name);
        if self.find(target.segments()).is_some() {
            return Err(TreeError::Exists(target.as_str().into()));
        }
        let parent = self.find_mut(parent.segments());
        if let Some((parent, mut node)) =
            parent.and_then(|p| p.take(uri.name().unwrap_or_default()).map(|node| (p, node)))
        {
            let renamed = Arc::make_mut(&mut node);
            renamed.name = name.into();
            renamed.touch(actor.now);
            parent.put(node);
        }
        Ok(())
    }

    fn get_property(
        &self,
        actor: Actor<'_>,
        uri: &Uri,
        property: Property,
    ) -> Result<Vec<Reading>, TreeError> {
        let node = self.existing(uri)?;
        self.allowed(actor, uri, AclCommand::Get)?;
        let text = node.property(property).ok_or(TreeError::Unsupported("such property of this node"))?;
        let uri = format!("{uri}?prop={}", property.as_str());
        Ok(vec![Reading { uri, format: None, type_: None, value: Some(text.into_bytes()) }])
    }

    fn list(&self, actor: Actor<'_>, top: &Uri, values: bool) -> Vec<Reading> {
        let mut out = Vec::new();
        self.each_readable(actor, top, &mut |uri, node| {
            let mut reading = read(uri, node, values && !node.is_interior());
            reading.type_ = node.type_().map(str::to_owned);
            out.push(reading);
        });
        out
    }

    /// Calls for each node from `top` down that this server may read. What it may not read is left out silently.
    fn each_readable(&self, actor: Actor<'_>, top: &Uri, each: &mut dyn FnMut(&Uri, &Node)) {
        let Some(node) = self.find(top.segments()) else { return };
        let can = self.permitted(actor, top, Access::GET).is_ok();
        if in_inbox(top) {
            return;
        }
        if can {
            each(top, node);
        }
        for child in node.children() {
            self.each_readable(actor, &top.child(child.name()), each);
        }
    }

    /// The subtree as a document, without what this server may not read.
    fn document(&self, actor: Actor<'_>, top: &Uri, select: crate::PropSelect) -> String {
        let base = if top.is_root() { "" } else { top.as_str() };
        let Some(node) = self.find(top.segments()) else { return String::new() };
        tnds::format(node, select, &|below| {
            let uri = match (base.is_empty(), below.is_empty()) {
                (_, true) => top.clone(),
                (true, false) => Uri::from_normalised(below.to_owned()),
                (false, false) => Uri::from_normalised(format!("{base}/{below}")),
            };
            !in_inbox(&uri) && self.permitted(actor, &uri, Access::GET).is_ok()
        })
    }
}

fn read(uri: &Uri, node: &Node, with_value: bool) -> Reading {
    let (type_, value) = match node.as_leaf() {
        Some(leaf) => (leaf.mime.as_deref().map(str::to_owned), leaf.value.to_vec()),
        None => {
            let names: Vec<&str> = node.children().map(Node::name).collect();
            (Some("text/plain".to_owned()), names.join("/").into_bytes())
        }
    };
    Reading { uri: uri.to_string(), format: Some(node.format()), type_, value: with_value.then_some(value) }
}

pub(crate) fn not_allowed(uri: &Uri, what: &'static str) -> TreeError {
    TreeError::NotAllowed { node: uri.as_str().into(), what }
}

pub(crate) fn in_inbox(uri: &Uri) -> bool {
    uri.segments().next() == Some("Inbox")
}

fn is_tnds(input: Input<'_>) -> bool {
    let type_ = input.type_.unwrap_or_default().trim();
    type_.eq_ignore_ascii_case(TNDS_XML) || type_.eq_ignore_ascii_case(TNDS_WBXML)
}

pub(crate) fn parse_format(token: Option<&str>) -> Result<Option<Format>, TreeError> {
    match token {
        None => Ok(None),
        Some(token) => match Format::parse(token) {
            Some(format) => Ok(Some(format)),
            None => Err(TreeError::Media(token.into())),
        },
    }
}

/// The octets of base64 text, with white space or without, padded or not.
pub(crate) fn decode_base64(text: &[u8]) -> Result<Vec<u8>, TreeError> {
    use base64::{alphabet::STANDARD, engine};
    const LENIENT: engine::GeneralPurpose = engine::GeneralPurpose::new(
        &STANDARD,
        engine::GeneralPurposeConfig::new()
            .with_decode_padding_mode(engine::DecodePaddingMode::Indifferent)
            .with_decode_allow_trailing_bits(true),
    );
    let packed: Vec<u8> = text.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
    LENIENT.decode(packed).map_err(|_| TreeError::Value("b64"))
}

impl From<UriError> for Box<TreeError> {
    fn from(error: UriError) -> Self {
        Self::new(error.into())
    }
}
