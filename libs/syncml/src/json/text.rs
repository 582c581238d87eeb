//! JSON text (RFC 8259), indented. It is this small so that the crate needs no serializer for its one use.

use std::fmt::Write;

/// An object that is being written.
pub(super) struct Object<'o> {
    out: &'o mut String,
    depth: usize,
    is_empty: bool,
}

/// The place of one element of an array.
pub(super) struct Element<'o> {
    out: &'o mut String,
    depth: usize,
}

impl Object<'_> {
    /// Appends an object whose members `write` writes.
    pub(super) fn write(out: &mut String, depth: usize, write: impl FnOnce(&mut Object<'_>)) {
        out.push('{');
        let mut object = Object { out, depth: depth + 1, is_empty: true };
        write(&mut object);
        if !object.is_empty {
            line(out, depth);
        }
        out.push('}');
    }

    pub(super) fn text(&mut self, name: &str, text: &str) {
        self.name(name);
        string(self.out, text);
    }

    pub(super) fn number(&mut self, name: &str, number: Option<u64>) {
        if let Some(number) = number {
            self.name(name);
            // Writing to a String does not fail.
            let _ = write!(self.out, "{number}");
        }
    }

    pub(super) fn bool(&mut self, name: &str, value: bool) {
        self.name(name);
        self.out.push_str(if value { "true" } else { "false" });
    }

    pub(super) fn object(&mut self, name: &str, write: impl FnOnce(&mut Object<'_>)) {
        self.name(name);
        Object::write(self.out, self.depth, write);
    }

    /// A member that is an array, unless it would be empty.
    pub(super) fn array<T>(&mut self, name: &str, items: &[T], write: impl Fn(Element<'_>, &T)) {
        if items.is_empty() {
            return;
        }
        self.name(name);
        self.out.push('[');
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.out.push(',');
            }
            line(self.out, self.depth + 1);
            write(Element { out: self.out, depth: self.depth + 1 }, item);
        }
        line(self.out, self.depth);
        self.out.push(']');
    }

    fn name(&mut self, name: &str) {
        if !self.is_empty {
            self.out.push(',');
        }
        self.is_empty = false;
        line(self.out, self.depth);
        string(self.out, name);
        self.out.push_str(": ");
    }
}

impl Element<'_> {
    pub(super) fn object(self, write: impl FnOnce(&mut Object<'_>)) {
        Object::write(self.out, self.depth, write);
    }

    pub(super) fn text(self, text: &str) {
        string(self.out, text);
    }
}

fn line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth));
}

fn string(out: &mut String, text: &str) {
    out.push('"');
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // The rest of the control characters, also those that a terminal would act on.
            _ if char.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(char));
            }
            _ => out.push(char),
        }
    }
    out.push('"');
}
