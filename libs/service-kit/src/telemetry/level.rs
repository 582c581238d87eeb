//! The level of logs, changed while the process runs.

use std::{
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tracing_subscriber::{EnvFilter, Registry, reload};

use super::parse_filter;

/// The longest time that a level may be asked for.
pub const FOR_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

static LOG_LEVEL: OnceLock<LogLevel> = OnceLock::new();

/// The level of this process's logs; `None` before logging has begun.
pub fn log_level() -> Option<&'static LogLevel> {
    LOG_LEVEL.get()
}

/// What is logged now, and what the settings say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Level {
    /// What is logged: `info`, or by module `info,session_service=debug`.
    pub level: String,
    /// What the settings say, `telemetry.level`.
    pub configured: String,
    /// When the settings hold again, where they do not now and that was asked for.
    pub until: Option<Timestamp>,
}

/// A wish for another level.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LevelWish {
    /// What is to be logged.
    pub level: String,
    /// For how long, such as `10m`; absent: until the next change.
    #[serde(rename = "for", default, skip_serializing_if = "Option::is_none")]
    pub span: Option<String>,
}

/// Why a level cannot be set.
#[derive(Debug, thiserror::Error)]
pub enum LevelError {
    /// It is none, or the time is too long.
    #[error("{0}")]
    Refused(String),
    /// Nobody logs any more.
    #[error("logs have ended")]
    Ended,
}

/// The level of a process's logs.
pub struct LogLevel {
    handle: reload::Handle<EnvFilter, Registry>,
    state: Mutex<State>,
}

struct State {
    now: Level,
    /// One more with every change, so that an end that was put off by another change does nothing.
    changes: u64,
}

impl LogLevel {
    pub(super) fn begin(handle: reload::Handle<EnvFilter, Registry>, level: &str) {
        let now = Level { level: level.to_owned(), configured: level.to_owned(), until: None };
        let _ = LOG_LEVEL.set(Self { handle, state: Mutex::new(State { now, changes: 0 }) });
    }

    /// What is logged now.
    pub fn now(&self) -> Level {
        self.lock().now.clone()
    }

    /// Logs at this level, for this long or until the next change. Called within a runtime.
    ///
    /// # Errors
    ///
    /// [`LevelError`], and nothing is changed.
    pub fn set(&'static self, level: &str, span: Option<Duration>) -> Result<Level, LevelError> {
        if let Some(span) = span
            && (span.is_zero() || span > FOR_MAX)
        {
            let hours = FOR_MAX.as_secs() / 3600;
            return Err(LevelError::Refused(format!("expected a time of up to {hours}h, got {span:?}")));
        }
        let until = span.and_then(|span| Timestamp::now().checked_add(span).ok());
        let (now, change) = self.change(|now| {
            level.clone_into(&mut now.level);
            now.until = until;
        })?;
        if let Some(span) = span {
            tokio::spawn(async move {
                tokio::time::sleep(span).await;
                if self.lock().changes == change {
                    let _ = self.reset();
                }
            });
        }
        Ok(now)
    }

    /// Does what was wished for. Called within a runtime.
    ///
    /// # Errors
    ///
    /// [`LevelError`], and nothing is changed.
    pub fn grant(&'static self, wish: &LevelWish) -> Result<Level, LevelError> {
        let span = match &wish.span {
            None => None,
            Some(text) => {
                let span = text.parse::<jiff::SignedDuration>().ok().and_then(|span| span.try_into().ok());
                let expected = || LevelError::Refused(format!("expected a time such as 10m, got {text:?}"));
                Some(span.ok_or_else(expected)?)
            }
        };
        self.set(&wish.level, span)
    }

    /// Goes back to the level of the settings.
    ///
    /// # Errors
    ///
    /// [`LevelError::Ended`].
    pub fn reset(&self) -> Result<Level, LevelError> {
        let back = |now: &mut Level| {
            now.level.clone_from(&now.configured);
            now.until = None;
        };
        self.change(back).map(|(now, _)| now)
    }

    /// The settings say this now, and it holds from here on.
    ///
    /// # Errors
    ///
    /// [`LevelError`], and nothing is changed.
    pub fn configure(&self, level: &str) -> Result<Level, LevelError> {
        let configured = |now: &mut Level| {
            *now = Level { level: level.to_owned(), configured: level.to_owned(), until: None };
        };
        self.change(configured).map(|(now, _)| now)
    }

    fn change(&self, change: impl FnOnce(&mut Level)) -> Result<(Level, u64), LevelError> {
        let mut state = self.lock();
        let mut next = state.now.clone();
        change(&mut next);
        let filter = parse_filter(&next.level).map_err(LevelError::Refused)?;
        self.handle.reload(filter).map_err(|_| LevelError::Ended)?;
        let before = std::mem::replace(&mut state.now, next.clone());
        state.changes += 1;
        let change = state.changes;
        drop(state);
        // At a level that leaves this out, nobody wants to know.
        tracing::info!(level = next.level, before = before.level, until = ?next.until, "log level changed");
        Ok((next, change))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the level out of the settings again at each SIGHUP, as long as it is polled. What cannot be read changes nothing.
///
/// # Errors
///
/// When the process may not listen for signals.
#[cfg(unix)]
pub async fn follow_hang_ups(read: impl Fn() -> Result<String, String>) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut hang_ups = signal(SignalKind::hangup())?;
    while hang_ups.recv().await.is_some() {
        let Some(log_level) = log_level() else { continue };
        let changed = read().and_then(|level| log_level.configure(&level).map_err(|error| error.to_string()));
        match changed {
            Ok(level) => tracing::info!(level = level.level, "settings read again for the log level"),
            Err(problem) => tracing::error!(problem, "log level is as before: the settings cannot be used"),
        }
    }
    Ok(())
}

/// Elsewhere there is no such signal.
///
/// # Errors
///
/// None.
#[cfg(not(unix))]
pub async fn follow_hang_ups(_: impl Fn() -> Result<String, String>) -> std::io::Result<()> {
    std::future::pending().await
}
