//! Ending the borrow of a message, part by part.

use std::borrow::Cow;

use crate::{
    Alert, Anchor, Command, Cred, Data, Group, Item, ItemCommand, Location, Map, Mem, Message, Meta, Results,
    Search, Status, Str, SyncBody, SyncHdr,
};

/// What can end its borrow.
trait IntoOwned {
    type Owned;
    fn end_borrow(self) -> Self::Owned;
}

impl IntoOwned for Str<'_> {
    type Owned = Str<'static>;
    fn end_borrow(self) -> Str<'static> {
        Cow::Owned(self.into_owned())
    }
}

impl<T: IntoOwned> IntoOwned for Option<T> {
    type Owned = Option<T::Owned>;
    fn end_borrow(self) -> Self::Owned {
        self.map(T::end_borrow)
    }
}

impl<T: IntoOwned> IntoOwned for Box<T> {
    type Owned = Box<T::Owned>;
    fn end_borrow(self) -> Self::Owned {
        Box::new((*self).end_borrow())
    }
}

impl<T: IntoOwned> IntoOwned for Vec<T> {
    type Owned = Vec<T::Owned>;
    fn end_borrow(self) -> Self::Owned {
        self.into_iter().map(T::end_borrow).collect()
    }
}

impl<T: IntoOwned, U: IntoOwned> IntoOwned for (T, U) {
    type Owned = (T::Owned, U::Owned);
    fn end_borrow(self) -> Self::Owned {
        (self.0.end_borrow(), self.1.end_borrow())
    }
}

macro_rules! plain {
    ($($type:ty),*) => {
        $(impl IntoOwned for $type {
            type Owned = Self;
            fn end_borrow(self) -> Self {
                self
            }
        })*
    };
}

plain!(bool, u16, u32, u64, crate::StatusCode);

/// Field by field, so that a field that is forgotten does not compile.
macro_rules! structs {
    ($($name:ident { $($field:ident),* })*) => {
        $(
            impl IntoOwned for $name<'_> {
                type Owned = $name<'static>;
                fn end_borrow(self) -> $name<'static> {
                    $name { $($field: self.$field.end_borrow()),* }
                }
            }

            impl $name<'_> {
                /// Copies what is still borrowed.
                #[must_use]
                pub fn into_owned(self) -> $name<'static> {
                    self.end_borrow()
                }
            }
        )*
    };
}

use crate::Sync;

structs! {
    Message { hdr, body }
    SyncHdr { ver_dtd, ver_proto, session_id, msg_id, target, source, resp_uri, no_resp, cred, meta }
    SyncBody { commands, is_final }
    Location { loc_uri, loc_name }
    Cred { meta, data }
    Meta {
        field_level, format, type_, mark, size, anchor, version, next_nonce, max_msg_size, max_obj_size, emi, mem
    }
    Anchor { last, next }
    Mem { shared_mem, free_mem, free_id }
    Item { target, source, source_parent, target_parent, meta, data, more_data }
    ItemCommand { cmd_id, no_resp, archive, sft_del, lang, cred, meta, correlator, items }
    Alert { cmd_id, no_resp, cred, code, correlator, items }
    Group { cmd_id, no_resp, meta, commands }
    Results { cmd_id, msg_ref, cmd_ref, meta, target_ref, source_ref, items }
    Status { cmd_id, msg_ref, cmd_ref, cmd, target_refs, source_refs, cred, chal, data, items }
    Map { cmd_id, target, source, cred, meta, items }
    Search { cmd_id, no_resp, no_results, cred, target, sources, lang, meta, data }
    Sync { cmd_id, no_resp, cred, target, source, meta, number_of_changes, commands }
}

impl IntoOwned for Data<'_> {
    type Owned = Data<'static>;
    fn end_borrow(self) -> Data<'static> {
        match self {
            Self::Text(text) => Data::Text(text.end_borrow()),
            Self::Bytes(bytes) => Data::Bytes(Cow::Owned(bytes.into_owned())),
        }
    }
}

impl Data<'_> {
    /// Copies what is still borrowed.
    #[must_use]
    pub fn into_owned(self) -> Data<'static> {
        self.end_borrow()
    }
}

macro_rules! commands {
    ($($variant:ident),*) => {
        impl IntoOwned for Command<'_> {
            type Owned = Command<'static>;
            fn end_borrow(self) -> Command<'static> {
                match self {
                    $(Self::$variant(command) => Command::$variant(command.end_borrow()),)*
                }
            }
        }

        impl Command<'_> {
            /// Copies what is still borrowed.
            #[must_use]
            pub fn into_owned(self) -> Command<'static> {
                self.end_borrow()
            }

            /// The command's id; empty where the peer left it out.
            #[must_use]
            pub fn cmd_id(&self) -> &str {
                match self {
                    $(Self::$variant(command) => &command.cmd_id,)*
                }
            }

            /// The element's name, which a Status repeats in `Cmd`.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => stringify!($variant),)*
                }
            }
        }
    };
}

commands!(
    Add, Alert, Atomic, Copy, Delete, Exec, Get, Map, Move, Put, Replace, Results, Search, Sequence, Status,
    Sync
);
