//! How a command ends.

use std::{
    fmt,
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
};

use admin_service::api::{ProblemBody, problem_types};

/// What a command tells the shell. Stable: scripts switch on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did what it was asked.
    Ok = 0,
    /// It could not.
    Error = 1,
    /// There is no such device, artifact or campaign.
    NotFound = 3,
    /// There is one already, or its state does not allow it.
    Conflict = 4,
    /// A campaign that was watched was stopped, or is held by a gate.
    CampaignFailed = 5,
    /// Nothing is wrong, and something may soon be.
    Warnings = 6,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command could not do what it was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
    /// Trying again may help.
    transient: bool,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None, transient: false }
    }

    /// A failure that may pass by itself: the server is not there, or cannot do it now.
    pub(crate) fn transient(message: impl Into<String>) -> Self {
        Self { transient: true, ..Self::error(message) }
    }

    pub(crate) fn is_transient(&self) -> bool {
        self.transient
    }

    pub(crate) fn error(message: impl Into<String>) -> Self {
        Self::new(Exit::Error, message)
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says it on standard error.
    pub(crate) fn report(&self) -> ExitCode {
        let mut stderr = io::stderr().lock();
        let colours =
            stderr.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let label = if colours { "\x1b[1;31merror\x1b[0m" } else { "error" };
        // Nobody is left to tell when standard error is closed.
        let _ = writeln!(stderr, "{label}: {}", self.message);
        if let Some(hint) = &self.hint {
            let _ = writeln!(stderr, "  hint: {hint}");
        }
        self.exit.into()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::error(format!("{error:#}"))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::error(error.to_string())
    }
}

impl From<ProblemBody> for Failure {
    fn from(problem: ProblemBody) -> Self {
        let exit = match problem.type_.as_str() {
            problem_types::NOT_FOUND => Exit::NotFound,
            problem_types::ALREADY_EXISTS | problem_types::CONFLICT | problem_types::PRECONDITION_FAILED => {
                Exit::Conflict
            }
            _ => Exit::Error,
        };
        let mut failure = Self::new(exit, problem.detail);
        failure.transient = matches!(
            problem.type_.as_str(),
            problem_types::UNAVAILABLE | problem_types::OUTCOME_UNKNOWN | problem_types::TOO_MANY_REQUESTS
        );
        match problem.type_.as_str() {
            problem_types::UNAUTHORIZED => failure.hint(
                "give the token by --token or FLOTILLA_TOKEN, or the server's data directory by --data",
            ),
            problem_types::INTERNAL => match problem.trace_id {
                Some(trace_id) => failure.hint(format!("the server's log has it under trace_id {trace_id}")),
                None => failure,
            },
            _ => failure,
        }
    }
}
