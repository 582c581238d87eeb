//! Elements inside `Data`, which is text to us: a tree description written as part of the message.

use std::borrow::Cow;

use wbxml::{Name, Token};

use super::{Pieces, Source, WbxmlSource};
use crate::{Data, DecodeError, Str, chars, tag};

impl<'a> WbxmlSource<'a> {
    /// Elements inside `Data`, from the first one on, as the text of their markup.
    pub(super) fn markup(&mut self, before: Pieces<'a>, first: Token<'a>) -> Result<Data<'a>, DecodeError> {
        let mut text = String::new();
        let before = self.utf8(before.into_inner())?;
        escape_into(&mut text, &before);
        let mut open: Vec<(Str<'a>, &'static str)> = Vec::new();
        let mut token = first;
        let inside = self.depth;
        loop {
            let length = text.len();
            match token {
                Token::Element { name, has_attributes, has_content } => {
                    self.open(has_attributes, has_content)?;
                    self.markup_start(&mut text, &mut open, name)?;
                }
                Token::End => {
                    self.depth -= 1;
                    if let Some((name, _)) = open.pop() {
                        end_tag(&mut text, &name);
                    }
                }
                other => {
                    let mut pieces = Pieces::default();
                    self.push(&mut pieces, other)?;
                    escape_into(&mut text, &self.utf8(pieces.into_inner())?);
                }
            }
            self.spend(text.len() - length)?;
            if self.depth < inside {
                return Ok(Data::from(chars::trim(&text).to_owned()));
            }
            token = self.token()?;
        }
    }

    fn markup_start(
        &mut self,
        text: &mut String,
        open: &mut Vec<(Str<'a>, &'static str)>,
        name: Name<'a>,
    ) -> Result<(), DecodeError> {
        let outer = open.last().map_or("", |(_, namespace)| namespace);
        let known: Option<(Str<'a>, &'static str)> = match name {
            Name::Token { page, token } => {
                tag::markup_name(page, token).map(|(name, namespace)| (Cow::Borrowed(name), namespace))
            }
            Name::Literal(name) => {
                Some((self.utf8(Cow::Borrowed(name))?, outer)).filter(|(name, _)| is_name(name))
            }
        };
        let Some((name, namespace)) = known else { return self.skip() };
        text.push('<');
        text.push_str(&name);
        if namespace != outer {
            text.push_str(" xmlns=\"");
            text.push_str(namespace);
            text.push('"');
        }
        if self.at_empty {
            text.push_str("/>");
            return self.skip();
        }
        text.push('>');
        open.push((name, namespace));
        Ok(())
    }
}

/// What may be written as a tag.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|char: char| char.is_ascii_digit() || matches!(char, '-' | '.'))
        && name.chars().all(|char| char.is_alphanumeric() || matches!(char, '-' | '.' | '_' | ':'))
}

fn end_tag(text: &mut String, name: &str) {
    text.push_str("</");
    text.push_str(name);
    text.push('>');
}

fn escape_into(text: &mut String, piece: &str) {
    for char in piece.chars() {
        match char {
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '&' => text.push_str("&amp;"),
            _ => text.push(char),
        }
    }
}
