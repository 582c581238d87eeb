//! Small files that settings name and other programs replace: passwords, tokens, certificates, keys.

use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// Times and sizes of files: other stamps mean other contents. A file that cannot be looked at is one that is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamps(Vec<Option<(SystemTime, u64)>>);

impl Stamps {
    /// Of these files as they are now. Links are followed, as Kubernetes replaces what they point to.
    pub fn of<'a>(files: impl IntoIterator<Item = &'a Path>) -> Self {
        let stamp = |file: &Path| {
            let meta = fs::metadata(file).ok()?;
            Some((meta.modified().ok()?, meta.len()))
        };
        Self(files.into_iter().map(stamp).collect())
    }
}

/// A set of files, and how they were when somebody last took them in.
#[derive(Debug)]
pub struct Watched {
    files: Vec<PathBuf>,
    taken: Stamps,
}

impl Watched {
    /// Those that settings name; they count as taken in as they are now.
    pub fn new<'a>(files: impl IntoIterator<Item = Option<&'a PathBuf>>) -> Self {
        let files: Vec<PathBuf> = files.into_iter().flatten().cloned().collect();
        let taken = Stamps::of(files.iter().map(PathBuf::as_path));
        Self { files, taken }
    }

    /// How they are, where that is another way than when they were taken in. Whoever could use them says so by
    /// [`Self::taken`]; until then they are new at every look.
    pub fn changed(&self) -> Option<Stamps> {
        let now = Stamps::of(self.files.iter().map(PathBuf::as_path));
        (now != self.taken).then_some(now)
    }

    /// They were taken in as they were then.
    pub fn taken(&mut self, stamps: Stamps) {
        self.taken = stamps;
    }
}

/// A secret of one line, without the line's end.
///
/// # Errors
///
/// As reading a file has them, and where it holds nothing.
pub fn read_secret(file: &Path) -> std::io::Result<String> {
    let mut text = fs::read_to_string(file)?;
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    if text.is_empty() {
        return Err(std::io::Error::new(
            std::io::ErrorKind::InvalidData,
            "expected a secret, got an empty file",
        ));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_new_until_they_are_taken_in() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        fs::write(&one, "a").unwrap();
        let mut watched = Watched::new([Some(&one), None, Some(&two)]);
        assert_eq!(watched.changed(), None);
        fs::write(&two, "b").unwrap();
        let stamps = watched.changed().expect("a file is there that was not");
        assert!(watched.changed().is_some(), "nobody has taken it in");
        watched.taken(stamps);
        assert_eq!(watched.changed(), None);
        fs::write(&one, "longer").unwrap();
        assert!(watched.changed().is_some());
    }

    #[test]
    fn a_secret_has_no_line_end_and_is_not_empty() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        fs::write(&file, " s p \r\n").unwrap();
        assert_eq!(read_secret(&file).unwrap(), " s p ");
        fs::write(&file, "\n").unwrap();
        assert!(read_secret(&file).is_err());
    }
}
