//! The elements of a message, their names, and their tokens.

/// The code page of SyncML's own elements (wire.md calls it 0; RepPro 1.2, section 8).
pub(crate) const PAGE_SYNCML: u8 = 0;
/// The code page of MetInf.
pub(crate) const PAGE_METINF: u8 = 1;
/// The code page of the tree description (TNDS, DDF).
pub(crate) const PAGE_DMDDF: u8 = 2;

macro_rules! tags {
    ($($page:ident $attributes:literal: $($token:literal $tag:ident)*;)*) => {
        /// An element that SyncML or MetInf names.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(clippy::upper_case_acronyms, reason = "it is the element's name")]
        pub(crate) enum Tag {
            $($(#[doc = stringify!($tag)] $tag,)*)*
            /// Anything else; skipped whole.
            Unknown,
        }

        /// The names as patterns.
        #[allow(non_upper_case_globals, reason = "they are the elements' names")]
        mod names {
            $($(pub(super) const $tag: &[u8] = stringify!($tag).as_bytes();)*)*
        }

        impl Tag {
            /// The element's name in XML.
            #[inline]
            pub(crate) const fn name(self) -> &'static str {
                match self {
                    $($(Self::$tag => stringify!($tag),)*)*
                    Self::Unknown => "an unknown element",
                }
            }

            /// The element's start tag in XML.
            #[inline]
            pub(crate) const fn start_tag(self) -> &'static str {
                match self {
                    $($(Self::$tag => concat!("<", stringify!($tag), $attributes, ">"),)*)*
                    Self::Unknown => "",
                }
            }

            /// The element's end tag in XML.
            #[inline]
            pub(crate) const fn end_tag(self) -> &'static str {
                match self {
                    $($(Self::$tag => concat!("</", stringify!($tag), ">"),)*)*
                    Self::Unknown => "",
                }
            }

            /// The element without content in XML.
            #[inline]
            pub(crate) const fn empty_tag(self) -> &'static str {
                match self {
                    $($(Self::$tag => concat!("<", stringify!($tag), $attributes, "/>"),)*)*
                    Self::Unknown => "",
                }
            }

            /// The element's code page and token in WBXML.
            #[inline]
            pub(crate) const fn token(self) -> (u8, u8) {
                match self {
                    $($(Self::$tag => ($page, $token),)*)*
                    Self::Unknown => (PAGE_SYNCML, 0x30), // reserved; never written
                }
            }

            /// By its name, without prefix. Names are case-sensitive.
            #[inline]
            pub(crate) fn of_name(name: &[u8]) -> Self {
                match name {
                    $($(names::$tag => Self::$tag,)*)*
                    _ => Self::Unknown,
                }
            }

            /// By its code page and token.
            #[inline]
            pub(crate) fn of_token(page: u8, token: u8) -> Self {
                match (page, token) {
                    $($(($page, $token) => Self::$tag,)*)*
                    _ => Self::Unknown,
                }
            }
        }

        #[cfg(test)]
        pub(crate) const ALL: &[Tag] = &[$($(Tag::$tag,)*)*];
    };
}

tags! {
    PAGE_SYNCML "":
        0x05 Add
        0x06 Alert
        0x07 Archive
        0x08 Atomic
        0x09 Chal
        0x0A Cmd
        0x0B CmdID
        0x0C CmdRef
        0x0D Copy
        0x0E Cred
        0x0F Data
        0x10 Delete
        0x11 Exec
        0x12 Final
        0x13 Get
        0x14 Item
        0x15 Lang
        0x16 LocName
        0x17 LocURI
        0x18 Map
        0x19 MapItem
        0x1A Meta
        0x1B MsgID
        0x1C MsgRef
        0x1D NoResp
        0x1E NoResults
        0x1F Put
        0x20 Replace
        0x21 RespURI
        0x22 Results
        0x23 Search
        0x24 Sequence
        0x25 SessionID
        0x26 SftDel
        0x27 Source
        0x28 SourceRef
        0x29 Status
        0x2A Sync
        0x2B SyncBody
        0x2C SyncHdr
        0x2D SyncML
        0x2E Target
        0x2F TargetRef
        0x31 VerDTD
        0x32 VerProto
        0x33 NumberOfChanges
        0x34 MoreData
        0x35 Field
        0x36 Filter
        0x37 Record
        0x38 FilterType
        0x39 SourceParent
        0x3A TargetParent
        0x3B Move
        0x3C Correlator
        ;
    // Each child of Meta names its namespace, as the devices themselves write it.
    PAGE_METINF " xmlns=\"syncml:metinf\"":
        0x05 Anchor
        0x06 EMI
        0x07 Format
        0x0B Mark
        0x0C MaxMsgSize
        0x0D Mem
        0x0E MetInf
        0x10 NextNonce
        0x12 Size
        0x13 Type
        0x14 Version
        0x15 MaxObjSize
        0x16 FieldLevel
        ;
    // Children of Anchor and Mem inherit it.
    PAGE_METINF "":
        0x08 FreeID
        0x09 FreeMem
        0x0A Last
        0x0F Next
        0x11 SharedMem
        ;
}

/// The elements of code page 2 by token, from 0x05; they are met only inside `Data`.
const DMDDF: [&str; 56] = [
    "AccessType",
    "ACL",
    "Add",
    "b64",
    "bin",
    "bool",
    "chr",
    "CaseSense",
    "CIS",
    "Copy",
    "CS",
    "date",
    "DDFName",
    "DefaultValue",
    "Delete",
    "Description",
    "DFFormat",
    "DFProperties",
    "DFTitle",
    "DFType",
    "Dynamic",
    "Exec",
    "float",
    "Format",
    "Get",
    "int",
    "Man",
    "MgmtTree",
    "MIME",
    "Mod",
    "Name",
    "Node",
    "node",
    "NodeName",
    "null",
    "Occurrence",
    "One",
    "OneOrMore",
    "OneOrN",
    "Path",
    "Permanent",
    "Replace",
    "RTProperties",
    "Scope",
    "Size",
    "time",
    "Title",
    "TStamp",
    "Type",
    "Value",
    "VerDTD",
    "VerNo",
    "xml",
    "ZeroOrMore",
    "ZeroOrN",
    "ZeroOrOne",
];

/// The name and the namespace of an element met inside `Data`, from whichever page.
pub(crate) fn markup_name(page: u8, token: u8) -> Option<(&'static str, &'static str)> {
    if page == PAGE_DMDDF {
        let index = usize::from(token).checked_sub(0x05)?;
        return DMDDF.get(index).map(|&name| (name, "syncml:dmddf1.2"));
    }
    match Tag::of_token(page, token) {
        Tag::Unknown => None,
        tag if page == PAGE_METINF => Some((tag.name(), "syncml:metinf")),
        tag => Some((tag.name(), "SYNCML:SYNCML1.2")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_is_found_by_its_name_and_by_its_token() {
        for &tag in ALL {
            assert_eq!(Tag::of_name(tag.name().as_bytes()), tag);
            let (page, token) = tag.token();
            assert_eq!(Tag::of_token(page, token), tag);
        }
        assert_eq!(Tag::of_name(b"syncml"), Tag::Unknown);
        assert_eq!(Tag::of_token(PAGE_SYNCML, 0x30), Tag::Unknown);
    }

    #[test]
    fn the_tree_description_stands_on_its_page() {
        for (token, name) in
            [(0x05, "AccessType"), (0x20, "MgmtTree"), (0x24, "Node"), (0x25, "node"), (0x3C, "ZeroOrOne")]
        {
            assert_eq!(markup_name(PAGE_DMDDF, token), Some((name, "syncml:dmddf1.2")));
        }
        assert_eq!(markup_name(PAGE_DMDDF, 0x3D), None);
        assert_eq!(markup_name(PAGE_DMDDF, 0x04), None);
    }
}
