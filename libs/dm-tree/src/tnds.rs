//! Serialized trees in XML (DM TNDS 1.2).

use std::{borrow::Cow, fmt::Write as _};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use quick_xml::{
    Reader,
    events::{BytesStart, Event},
};

use crate::{Acl, Format, Node, PropSelect, Property, command::decode_base64, error::TndsError, uri};

const DEPTH_MAX: usize = 128;
const NODES_MAX: usize = 1 << 16;

/// A TNDS document, read but not yet put anywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// The nodes at its top. One at least, in a useful document.
    pub nodes: Vec<DocNode>,
}

/// A node of a TNDS document, with just what the document says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DocNode {
    /// Empty: the last segment of the address that the document is for.
    pub name: String,
    /// Where its parent is, relative to the address that the document is for. Only at the top.
    pub path: Option<String>,
    /// Its own access control list.
    pub acl: Option<Acl>,
    /// Its format.
    pub format: Option<Format>,
    /// The media type of a leaf.
    pub mime: Option<String>,
    /// The management object's id of an interior node; may be empty.
    pub ddf_name: Option<String>,
    /// Its title.
    pub title: Option<String>,
    /// The value, decoded: of format `bin` the octets.
    pub value: Option<Vec<u8>>,
    /// In the order of the document.
    pub children: Vec<DocNode>,
}

impl DocNode {
    /// Whether it stands for an interior node.
    pub fn is_interior(&self) -> bool {
        match self.format {
            Some(format) => format == Format::Node,
            None => !self.children.is_empty() || self.value.is_none(),
        }
    }
}

/// Writes a subtree. `readable` says of each address below it (empty for itself) whether it goes in.
pub(crate) fn format(node: &Node, select: PropSelect, readable: &dyn Fn(&str) -> bool) -> String {
    let mut out = String::from(r#"<MgmtTree xmlns="syncml:dmddf1.2"><VerDTD>1.2</VerDTD>"#);
    write_node(&mut out, node, "", None, select, readable);
    out.push_str("</MgmtTree>");
    out
}

fn write_node(
    out: &mut String,
    node: &Node,
    at: &str,
    path: Option<&str>,
    select: PropSelect,
    readable: &dyn Fn(&str) -> bool,
) {
    if !readable(at) {
        return;
    }
    out.push_str("<Node>");
    element(out, "NodeName", node.name());
    if let Some(path) = path {
        element(out, "Path", path);
    }
    let (format, value) = carried(node);
    write_properties(out, node, format, select);
    for child in node.children() {
        write_node(out, child, &uri::join(at, child.name()), None, select, readable);
    }
    if let Some(value) = value.filter(|_| select.has_value()) {
        element(out, "Value", &value);
    }
    out.push_str("</Node>");
}

// The format and text that a leaf's value has in the document.
fn carried(node: &Node) -> (Format, Option<Cow<'_, str>>) {
    let Some(leaf) = node.as_leaf() else { return (Format::Node, None) };
    match leaf.as_str().filter(|text| leaf.format != Format::Bin && text.chars().all(is_xml_char)) {
        Some(text) => (leaf.format, Some(Cow::Borrowed(text))),
        // XML has no way to say such octets; what reads them back gets them right.
        None => (Format::Bin, Some(Cow::Owned(STANDARD.encode(&leaf.value)))),
    }
}

fn write_properties(out: &mut String, node: &Node, format: Format, select: PropSelect) {
    out.push_str("<RTProperties>");
    for property in Property::ALL.into_iter().filter(|p| select.has(*p)) {
        let name = property.as_str();
        match property {
            Property::Format => {
                let _ = write!(out, "<Format><{format}/></Format>");
            }
            Property::Type => {
                out.push_str("<Type>");
                let type_ = node.type_().unwrap_or(node.type_default());
                element(out, if node.is_interior() { "DDFName" } else { "MIME" }, type_);
                out.push_str("</Type>");
            }
            Property::Acl | Property::Title => {
                if let Some(text) = node.property(property).filter(|text| !text.is_empty()) {
                    element(out, name, &text);
                }
            }
            _ => {
                if let Some(text) = node.property(property) {
                    element(out, name, &text);
                }
            }
        }
    }
    out.push_str("</RTProperties>");
}

fn element(out: &mut String, name: &str, text: &str) {
    if text.is_empty() {
        let _ = write!(out, "<{name}/>");
        return;
    }
    let _ = write!(out, "<{name}>");
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // A parser would make a line feed of it.
            '\r' => out.push_str("&#13;"),
            _ => out.push(c),
        }
    }
    let _ = write!(out, "</{name}>");
}

fn is_xml_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
}

impl Document {
    /// Reads a document. Elements that are not of TNDS are skipped whole; properties that a client keeps by itself
    /// (`Size`, `TStamp`, `VerNo`, `Name`) are read over.
    ///
    /// # Errors
    ///
    /// [`TndsError`] with the byte where it went wrong. A DOCTYPE is one.
    pub fn parse(text: &str) -> Result<Self, TndsError> {
        let mut parser = Parser { reader: Reader::from_str(text.trim_start_matches('\u{feff}')), nodes: 0 };
        parser.reader.config_mut().expand_empty_elements = true;
        parser.document()
    }
}

struct Parser<'a> {
    reader: Reader<&'a [u8]>,
    nodes: usize,
}

// What stands next in the content of an element.
enum Child<'a> {
    Element(BytesStart<'a>),
    End,
}

impl<'a> Parser<'a> {
    fn document(&mut self) -> Result<Document, TndsError> {
        let root = match self.child()? {
            Child::Element(start) => start,
            Child::End => return Err(self.unexpected("MgmtTree", "nothing")),
        };
        if name_of(&root) != "MgmtTree" {
            return Err(self.unexpected("MgmtTree", &name_of(&root)));
        }
        let mut nodes = Vec::new();
        while let Child::Element(start) = self.child()? {
            match &*name_of(&start) {
                "Node" => nodes.push(self.node(1)?),
                _ => self.skip(&start)?,
            }
        }
        if nodes.is_empty() {
            return Err(self.unexpected("Node", "none"));
        }
        Ok(Document { nodes })
    }

    fn node(&mut self, depth: usize) -> Result<DocNode, TndsError> {
        self.nodes += 1;
        self.within(depth, DEPTH_MAX, "levels")?;
        self.within(self.nodes, NODES_MAX, "nodes")?;
        let mut node = DocNode::default();
        let mut value = None;
        while let Child::Element(start) = self.child()? {
            match &*name_of(&start) {
                "NodeName" => node.name = self.text()?.trim().to_owned(),
                "Path" => node.path = Some(self.text()?.trim().to_owned()),
                "RTProperties" => self.properties(&mut node)?,
                "Value" => value = Some(self.text()?),
                "Node" => node.children.push(self.node(depth + 1)?),
                _ => self.skip(&start)?,
            }
        }
        // After the properties, wherever they stood.
        node.value = match (value, node.format) {
            (Some(text), Some(Format::Bin)) => Some(
                decode_base64(text.as_bytes())
                    .map_err(|_| TndsError::Value { node: node.name.as_str().into(), format: "bin" })?,
            ),
            (Some(text), _) => Some(text.into_bytes()),
            (None, _) => None,
        };
        Ok(node)
    }

    fn properties(&mut self, node: &mut DocNode) -> Result<(), TndsError> {
        while let Child::Element(start) = self.child()? {
            match &*name_of(&start) {
                "ACL" => node.acl = Some(Acl::parse(self.text()?.trim())?),
                "Title" => node.title = Some(self.text()?),
                "Format" => {
                    while let Child::Element(start) = self.child()? {
                        let name = name_of(&start);
                        let format = Format::parse(&name);
                        node.format = Some(format.ok_or_else(|| TndsError::Format((&*name).into()))?);
                        self.skip(&start)?;
                    }
                }
                "Type" => {
                    while let Child::Element(start) = self.child()? {
                        match &*name_of(&start) {
                            "MIME" => node.mime = Some(self.text()?.trim().to_owned()),
                            "DDFName" => node.ddf_name = Some(self.text()?.trim().to_owned()),
                            _ => self.skip(&start)?,
                        }
                    }
                }
                _ => self.skip(&start)?,
            }
        }
        Ok(())
    }

    /// The next child of an element that has only elements.
    fn child(&mut self) -> Result<Child<'a>, TndsError> {
        loop {
            match self.event()? {
                Event::Start(start) => return Ok(Child::Element(start)),
                Event::End(_) => return Ok(Child::End),
                Event::Eof => return Err(self.unexpected("an element or an end tag", "the end")),
                Event::Text(text) if text.chars().all(char::is_whitespace) => {}
                Event::Comment(_) | Event::PI(_) | Event::Decl(_) => {}
                Event::DocType(_) => return Err(self.unexpected("no document type", "<!DOCTYPE")),
                _ => return Err(self.unexpected("an element", "text")),
            }
        }
    }

    /// The text up to the end of an element. Markup in it is taken as it stands, since some write values unescaped.
    fn text(&mut self) -> Result<String, TndsError> {
        let mut out = String::new();
        let mut depth = 0_usize;
        loop {
            match self.event()? {
                Event::Text(text) => push_text(&mut out, &text),
                Event::CData(data) => out.push_str(&data),
                Event::GeneralRef(reference) => {
                    let c = match &*reference {
                        "lt" => Some('<'),
                        "gt" => Some('>'),
                        "amp" => Some('&'),
                        "quot" => Some('"'),
                        "apos" => Some('\''),
                        _ => reference.resolve_char_ref().ok().flatten(),
                    };
                    out.push(c.ok_or_else(|| self.unexpected("a predefined entity", "another"))?);
                }
                Event::Start(start) => {
                    depth += 1;
                    self.within(depth, DEPTH_MAX, "levels")?;
                    let _ = write!(out, "<{}>", &*start);
                }
                Event::End(_) if depth == 0 => return Ok(out),
                Event::End(end) => {
                    depth -= 1;
                    let _ = write!(out, "</{}>", end.name().as_ref());
                }
                Event::Eof => return Err(self.unexpected("an end tag", "the end")),
                Event::DocType(_) => return Err(self.unexpected("text", "<!DOCTYPE")),
                _ => {}
            }
        }
    }

    fn skip(&mut self, start: &BytesStart<'_>) -> Result<(), TndsError> {
        let at = self.reader.buffer_position();
        self.reader.read_to_end(start.name()).map(drop).map_err(|e| xml_error(at, &e))
    }

    fn event(&mut self) -> Result<Event<'a>, TndsError> {
        let at = self.reader.buffer_position();
        self.reader.read_event().map_err(|e| xml_error(at, &e))
    }

    fn within(&self, value: usize, max: usize, what: &'static str) -> Result<(), TndsError> {
        if value <= max {
            return Ok(());
        }
        Err(TndsError::TooMuch { at: self.reader.buffer_position(), max, what })
    }

    fn unexpected(&self, expected: &'static str, got: &str) -> TndsError {
        TndsError::Unexpected { at: self.reader.buffer_position(), expected, got: got.into() }
    }
}

// Line ends as XML has them.
fn push_text(out: &mut String, text: &str) {
    if text.contains('\r') {
        out.push_str(&text.replace("\r\n", "\n").replace('\r', "\n"));
    } else {
        out.push_str(text);
    }
}

fn name_of(start: &BytesStart<'_>) -> String {
    start.local_name().as_ref().to_owned()
}

fn xml_error(at: u64, error: &quick_xml::Error) -> TndsError {
    TndsError::Xml { at, what: error.to_string().into() }
}
