//! Add and Replace with a serialized tree: all of it or nothing.

use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    Actor, DocNode, Document, Format, Input, Leaf, Node, Tree, TreeError, Uri,
    command::{decode_base64, in_inbox, not_allowed, parse_format},
    node::{Access, Kind},
    uri,
};

/// A document as nodes, relative to the address it is for.
struct Planned {
    // The node at that address: real if the document tells of it, else only a holder of those below.
    top: Node,
    top_is_told: bool,
    // Addresses below that the document tells of, without those that stand below another one of them.
    tops: Vec<String>,
}

impl Tree {
    pub(crate) fn add_document(
        &mut self,
        actor: Actor<'_>,
        uri: &Uri,
        input: Input<'_>,
    ) -> Result<(), TreeError> {
        let document = self.parse_document(input)?;
        // A document for an address that exists goes below it; else it tells of the address itself.
        let own_name = if self.find(uri.segments()).is_some() { None } else { uri.name() };
        let planned = self.plan(&document, own_name, actor.now)?;
        let before = self.clone();
        let result = self.add_planned(actor, uri, planned);
        if result.is_err() {
            *self = before;
        }
        result
    }

    pub(crate) fn replace_document(
        &mut self,
        actor: Actor<'_>,
        uri: &Uri,
        input: Input<'_>,
    ) -> Result<(), TreeError> {
        let document = self.parse_document(input)?;
        self.permitted(actor, uri, Access::REPLACE)?;
        if in_inbox(uri) {
            return Err(not_allowed(uri, "a node outside of the inbox"));
        }
        let planned = self.plan(&document, uri.name(), actor.now)?;
        let before = self.clone();
        let result = self.make_like(actor, uri, &planned.top, planned.top_is_told);
        if result.is_err() {
            *self = before;
        }
        result
    }

    fn parse_document(&self, input: Input<'_>) -> Result<Document, TreeError> {
        if !self.rules.tnds {
            return Err(TreeError::Media("a serialized tree".into()));
        }
        let data = input.data.ok_or(TreeError::Incomplete("a document"))?;
        let decoded;
        let data = match parse_format(input.format)? {
            Some(Format::B64) => {
                decoded = decode_base64(data)?;
                &decoded
            }
            _ => data,
        };
        let max = self.rules.value_octets_max;
        if data.len() > max {
            return Err(TreeError::TooLarge { max, octets: data.len() });
        }
        // The declared type does not tell: converters relabel a document and leave it as it was.
        let text = std::str::from_utf8(data).ok().filter(|text| {
            let start = text.trim_start_matches('\u{feff}').trim_start();
            start.starts_with('<')
        });
        let text = text.ok_or_else(|| TreeError::Media("a serialized tree that is not XML".into()))?;
        Ok(Document::parse(text)?)
    }

    fn plan(
        &self,
        document: &Document,
        own_name: Option<&str>,
        now: Timestamp,
    ) -> Result<Planned, TreeError> {
        let mut planned = Planned { top: Node::interior(), top_is_told: false, tops: Vec::new() };
        for node in &document.nodes {
            let path = relative(node.path.as_deref().unwrap_or_default());
            let is_own = path.is_empty() && (node.name.is_empty() || Some(&*node.name) == own_name);
            if is_own && !planned.top_is_told {
                let mut top = self.built(node, now)?;
                for child in planned.top.children() {
                    top.put(Arc::new(child.clone()));
                }
                (planned.top, planned.top_is_told) = (top, true);
                continue;
            }
            // A path may repeat the name of the address itself.
            let path = match own_name.and_then(|own| path.strip_prefix(own)) {
                Some("") if planned.top_is_told => "",
                Some(rest) if planned.top_is_told && rest.starts_with('/') => &rest[1..],
                _ => path,
            };
            let name = uri::parse_segment(&node.name, &self.rules.uri)?;
            let at = uri::join(path, &name);
            place(&mut planned.top, path, &name, self.built(node, now)?)?;
            if !planned.tops.iter().any(|top| is_below(&at, top)) {
                planned.tops.push(at);
            }
        }
        Ok(planned)
    }

    fn built(&self, doc: &DocNode, now: Timestamp) -> Result<Node, TreeError> {
        let mut node = if doc.is_interior() {
            if doc.value.is_some() {
                return Err(TreeError::Incomplete("no value of an interior node"));
            }
            Node::interior().with_type(doc.ddf_name.as_deref().unwrap_or_default())
        } else {
            if !doc.children.is_empty() {
                return Err(TreeError::Incomplete("no children of a leaf"));
            }
            let value = doc.value.as_deref().unwrap_or_default();
            let max = self.rules.value_octets_max;
            if value.len() > max {
                return Err(TreeError::TooLarge { max, octets: value.len() });
            }
            let leaf = Leaf { format: doc.format.unwrap_or_default(), mime: None, value: value.into() };
            Node::leaf(leaf).with_type(doc.mime.as_deref().unwrap_or_default())
        };
        if let Some(acl) = &doc.acl {
            node.set_acl(acl.clone());
        }
        node.set_title(doc.title.as_deref().unwrap_or_default());
        node.tstamp = now.as_second();
        for child in &doc.children {
            let name = uri::parse_segment(&child.name, &self.rules.uri)?;
            let mut built = self.built(child, now)?;
            if node.child(&name).is_some() {
                return Err(TreeError::Exists(name.into()));
            }
            built.name = name.into();
            node.put(Arc::new(built));
        }
        Ok(node)
    }

    fn add_planned(&mut self, actor: Actor<'_>, uri: &Uri, planned: Planned) -> Result<(), TreeError> {
        if planned.top_is_told {
            return self.add_node(actor, uri, planned.top);
        }
        for at in planned.tops {
            let mut node = &planned.top;
            for segment in uri::segments(&at) {
                node = node.child(segment).ok_or(TreeError::Incomplete("a node at each path"))?;
            }
            let node = node.clone();
            let full = uri::segments(&at).fold(uri.clone(), |uri, segment| uri.child(segment));
            // The whole address, with what the document added to it, has to keep the limits too.
            let full = Uri::parse(full.as_str(), &self.rules.uri)?;
            self.add_node(actor, &full, node)?;
        }
        Ok(())
    }

    /// Makes the subtree at an address like another. Leaves the tree half done on an error.
    fn make_like(
        &mut self,
        actor: Actor<'_>,
        uri: &Uri,
        want: &Node,
        is_told: bool,
    ) -> Result<(), TreeError> {
        let have = self.existing(uri)?.clone();
        if is_told && have.is_interior() != want.is_interior() {
            self.delete(actor, uri.as_str())?;
            return self.add_node(actor, uri, want.clone());
        }
        if is_told {
            self.make_itself_like(actor, uri, &have, want)?;
        }
        for child in have.children().filter(|child| want.child(child.name()).is_none()) {
            self.delete(actor, uri.child(child.name()).as_str())?;
        }
        for child in want.children() {
            let at = uri.child(child.name());
            match have.child(child.name()) {
                Some(_) => self.make_like(actor, &at, child, true)?,
                None => self.add_node(actor, &at, child.clone())?,
            }
        }
        Ok(())
    }

    fn make_itself_like(
        &mut self,
        actor: Actor<'_>,
        uri: &Uri,
        have: &Node,
        want: &Node,
    ) -> Result<(), TreeError> {
        let is_other = match (have.as_leaf(), want.as_leaf()) {
            (Some(have), Some(want)) => have != want,
            // A document without a type says nothing of it.
            _ => want.type_().is_some() && want.type_() != have.type_(),
        };
        if is_other {
            self.permitted(actor, uri, Access::REPLACE)?;
            let has_other_format = have.format() != want.format() || have.type_() != want.type_();
            if has_other_format {
                self.dynamic(uri, "the format and type of a permanent node")?;
            }
            self.change(uri.as_str(), actor.now, |node| match &want.kind {
                Kind::Leaf(leaf) => node.kind = Kind::Leaf(leaf.clone()),
                Kind::Interior { type_, .. } => node.set_type(type_.as_deref()),
            });
        }
        if let Some(acl) = want.acl().filter(|acl| Some(*acl) != have.acl()) {
            let acl = acl.to_string();
            self.replace_acl(actor, uri, &acl)?;
        }
        if !want.title().is_empty() && want.title() != have.title() {
            self.permitted(actor, uri, Access::REPLACE)?;
            self.change(uri.as_str(), actor.now, |node| node.set_title(want.title()));
        }
        Ok(())
    }
}

// Puts a node at a path of a plan; levels that no node of the document tells of are plain interior ones.
fn place(top: &mut Node, path: &str, name: &str, mut node: Node) -> Result<(), TreeError> {
    let mut parent = top;
    for segment in uri::segments(path) {
        if parent.child(segment).is_none() {
            let mut made = Node::interior();
            made.name = segment.into();
            made.tstamp = node.tstamp;
            parent.put(Arc::new(made));
        }
        parent = parent.child_mut(segment).ok_or(TreeError::Incomplete("an interior parent"))?;
    }
    if parent.child(name).is_some() {
        return Err(TreeError::Exists(name.into()));
    }
    node.name = name.into();
    parent.put(Arc::new(node));
    Ok(())
}

fn relative(path: &str) -> &str {
    match uri::normalise(path) {
        "." => "",
        path => path,
    }
}

fn is_below(at: &str, top: &str) -> bool {
    at.strip_prefix(top).is_some_and(|rest| rest.starts_with('/'))
}
