//! Closed sets of label values.

/// Declares a closed set of label values.
macro_rules! labels {
    ($(
        $(#[$doc:meta])+
        $name:ident { $( $(#[$value_doc:meta])+ $value:ident = $text:literal, )+ }
    )+) => {$(
        $(#[$doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $( $(#[$value_doc])+ $value, )+ }

        impl $name {
            /// All of them, in the order of their numbers.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$value),+];

            /// As the label's value.
            pub fn label(self) -> &'static str {
                match self { $(Self::$value => $text),+ }
            }
        }
    )+};
}

pub(crate) use labels;
