//! The bearer token: made at first start, compared in constant time, on by default.

use std::{
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// The token's file within the data directory.
pub const TOKEN_FILE: &str = "admin.token";
/// Longest token that is read from a file, in octets.
const TOKEN_OCTETS_MAX: u64 = 4096;

/// What an operator proves himself with. Its `Debug` shows nothing.
#[derive(Clone)]
pub struct Token(Arc<RwLock<Zeroizing<String>>>);

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read or made.
    #[error("could not {operation} the token file {}", path.display())]
    File {
        /// `read` or `make`.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file has too little in it to be a secret.
    #[error("expected a token of at least 16 characters in {}, got {length}", path.display())]
    Short {
        /// The file.
        path: PathBuf,
        /// How many characters it has.
        length: usize,
    },
    /// The system gave no random octets.
    #[error("could not get random octets for a token: {0}")]
    Random(String),
}

impl Token {
    /// Takes a token as it is.
    pub fn new(text: String) -> Self {
        Self(Arc::new(RwLock::new(Zeroizing::new(text))))
    }

    /// Reads the token of a file.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or has fewer than 16 characters.
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let failed = |source| TokenError::File { operation: "read", path: path.to_owned(), source };
        let mut text = Zeroizing::new(String::new());
        let file = std::fs::File::open(path).map_err(failed)?;
        file.take(TOKEN_OCTETS_MAX).read_to_string(&mut text).map_err(failed)?;
        let token = text.trim();
        if token.len() < 16 {
            return Err(TokenError::Short { path: path.to_owned(), length: token.len() });
        }
        Ok(Self::new(token.to_owned()))
    }

    /// Reads the token of a file, or makes both: 256 random bits behind the word `flotilla_`, in a file that only its owner may read. The
    /// word lets whoever finds the token somewhere see what it opens, and keeps a first `-` from being taken for a flag.
    ///
    /// # Errors
    ///
    /// When the file can be neither read nor made.
    pub fn read_or_make(path: &Path) -> Result<Self, TokenError> {
        match Self::read(path) {
            Err(TokenError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            found => return found,
        }
        let mut octets = Zeroizing::new([0; 32]);
        getrandom::fill(octets.as_mut_slice()).map_err(|error| TokenError::Random(error.to_string()))?;
        let mut text = Zeroizing::new(String::with_capacity(64));
        text.push_str("flotilla_");
        URL_SAFE_NO_PAD.encode_string(octets.as_slice(), &mut text);
        write_private(path, &text).map_err(|source| TokenError::File {
            operation: "make",
            path: path.to_owned(),
            source,
        })?;
        Self::read(path)
    }

    /// The token itself, to send it.
    pub fn reveal(&self) -> Zeroizing<String> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the file again; from then on its token is the one that counts, for all copies of this one. Says whether it is
    /// another than before.
    ///
    /// # Errors
    ///
    /// As [`Self::read`]; the token of before stays.
    pub fn refresh(&self, path: &Path) -> Result<bool, TokenError> {
        let fresh = Self::read(path)?.reveal();
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let is_other = *current != fresh;
        *current = fresh;
        Ok(is_other)
    }

    /// Whether `given` is the token, in a time that does not tell how much of it is right.
    pub fn matches(&self, given: &str) -> bool {
        let token = self.0.read().unwrap_or_else(PoisonError::into_inner);
        token.as_bytes().ct_eq(given.as_bytes()).into()
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Writes the file whole or not at all: a start that is killed in the middle leaves no half token.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let unfinished = path.with_extension("token.new");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
        options.mode(0o600);
        // A file left by an earlier start may have other rights; `mode` is only for new ones.
        if unfinished.exists() {
            std::fs::set_permissions(&unfinished, std::fs::Permissions::from_mode(0o600))?;
        }
    }
    let mut file = options.open(&unfinished)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_a_token_once_and_only_for_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.token");
        let made = Token::read_or_make(&path).unwrap();
        let read = Token::read_or_make(&path).unwrap();
        assert!(made.matches(&read.reveal()));
        let secret = made.reveal().strip_prefix("flotilla_").map(str::len);
        assert_eq!(secret, Some(43), "256 bits in base64");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn another_token_in_the_file_takes_the_place_of_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.token");
        let token = Token::read_or_make(&path).unwrap();
        let copy = token.clone();
        assert!(!token.refresh(&path).unwrap());
        std::fs::write(&path, "too short").unwrap();
        let old = copy.reveal();
        assert!(token.refresh(&path).is_err() && copy.matches(&old), "the old one goes on");
        std::fs::write(&path, "0123456789abcdef\n").unwrap();
        assert!(token.refresh(&path).unwrap());
        assert!(copy.matches("0123456789abcdef") && !copy.matches(&old));
    }

    #[test]
    fn matches_nothing_but_itself() {
        let token = Token::new("0123456789abcdef".into());
        for other in ["", "0123456789abcde", "0123456789abcdef0", "0123456789abcdeF"] {
            assert!(!token.matches(other), "{other}");
        }
        assert!(token.matches("0123456789abcdef"));
        assert_eq!(format!("{token:?}"), "Token(..)");
    }

    #[test]
    fn refuses_a_file_that_holds_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.token");
        std::fs::write(&path, "short\n").unwrap();
        assert!(matches!(Token::read_or_make(&path), Err(TokenError::Short { length: 5, .. })));
    }
}
