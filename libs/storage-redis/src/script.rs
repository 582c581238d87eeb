//! Scripts, each on one key. One that was done and whose answer was lost is sent again by the client of a cluster; so each
//! can be said twice: it finds its own revision there, and says again that it was done.

use redis::Cmd;

/// A script that the server runs.
pub(crate) struct Script {
    text: &'static str,
    digest: String,
}

impl Script {
    pub(crate) fn new(text: &'static str) -> Self {
        Self { text, digest: sha1_smol::Sha1::from(text).digest().to_string() }
    }

    /// To a server that has been told it before.
    pub(crate) fn by_digest(&self, key: &str, arguments: &[&[u8]]) -> Cmd {
        Self::command("EVALSHA", &self.digest, key, arguments)
    }

    /// To a server that has not.
    pub(crate) fn whole(&self, key: &str, arguments: &[&[u8]]) -> Cmd {
        Self::command("EVAL", self.text, key, arguments)
    }

    fn command(name: &str, script: &str, key: &str, arguments: &[&[u8]]) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(1).arg(key);
        for argument in arguments {
            command.arg(*argument);
        }
        command
    }
}
