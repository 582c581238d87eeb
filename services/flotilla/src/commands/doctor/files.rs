//! The data directory, and the files of secrets.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use service_kit::{Settings, files::read_secret, settings::Role};
use storage::{Embedded, KeyRing};

use super::{Finding, uses};
use crate::commands::serve::token_file;

/// Less than this free is a warning, and a tenth of it a failure.
const FREE_OCTETS_LOW: u64 = 1 << 30;

/// The data directory of an embedded store, from outside.
pub(super) fn data(settings: &Settings) -> Vec<Finding> {
    const CHECK: &str = "data";
    let dir = &settings.storage.data;
    let shown = dir.display();
    let Ok(meta) = fs::metadata(dir) else {
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if parent.is_dir() {
            return vec![Finding::ok(CHECK, format!("{shown} is not there yet; the first start makes it"))];
        }
        let remedy = format!("mkdir -p {}", parent.display());
        return vec![Finding::fail(
            CHECK,
            format!("storage.data: {} is not there", parent.display()),
            remedy,
        )];
    };
    if !meta.is_dir() {
        let what = format!("storage.data: expected a directory, got the file {shown}");
        return vec![Finding::fail(CHECK, what, "name another one by --data or storage.data")];
    }
    let mut findings = vec![rights(dir, &meta)];
    findings.push(space(dir));
    if let Err(error) = Embedded::check_format(dir) {
        let remedy = "serve it with the version that wrote it, or restore a backup";
        findings.push(Finding::fail(CHECK, error.to_string(), remedy));
    }
    findings.push(match lock_holder(dir) {
        Some(process) => Finding::ok(CHECK, format!("{shown} is served by process {process}")),
        None => Finding::ok(CHECK, format!("{shown} is not in use")),
    });
    findings
}

fn rights(dir: &Path, meta: &fs::Metadata) -> Finding {
    const CHECK: &str = "data";
    let shown = dir.display();
    let access = rustix::fs::access(dir, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK);
    if access.is_err() {
        let remedy = format!("chown the directory to the user that serves it (it belongs to {})", meta.uid());
        return Finding::fail(CHECK, format!("storage.data: {shown} cannot be written by this user"), remedy);
    }
    let mode = meta.permissions().mode() & 0o777;
    if mode & 0o007 != 0 && dir.join("key").exists() {
        let what = format!("{shown} has mode {mode:o}: others of this machine may look into it");
        return Finding::warn(CHECK, what, format!("chmod o= {shown}"));
    }
    Finding::ok(CHECK, format!("{shown} can be written"))
}

fn space(dir: &Path) -> Finding {
    const CHECK: &str = "disk";
    let Ok(disk) = rustix::fs::statvfs(dir) else {
        return Finding::warn(CHECK, "the file system does not say how much is free", "look at it by df");
    };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let shown = format!("{} MiB free at {}", free >> 20, dir.display());
    let remedy = "make room, or put storage.data on a larger disk; writes are refused when it is full";
    match free {
        _ if free < FREE_OCTETS_LOW / 10 => Finding::fail(CHECK, shown, remedy),
        _ if free < FREE_OCTETS_LOW => Finding::warn(CHECK, shown, remedy),
        _ => Finding::ok(CHECK, shown),
    }
}

/// The process that has the directory's lock. It is read from the system's list of locks: to try the lock would be to hold it
/// for a moment, in which a server could not start.
pub(in crate::commands) fn lock_holder(dir: &Path) -> Option<u32> {
    let inode = fs::metadata(dir.join("lock")).ok()?.ino();
    let locks = fs::read_to_string("/proc/locks").ok()?;
    holder(&locks, inode)
}

/// `1: FLOCK  ADVISORY  WRITE 123 08:01:4567 0 EOF`; who waits for one has a `->` behind its number.
fn holder(locks: &str, inode: u64) -> Option<u32> {
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, _, process, file, ..] = fields.as_slice() else { return None };
        (file.rsplit(':').next()?.parse::<u64>().ok()? == inode).then(|| process.parse().ok())?
    })
}

/// Files of secrets that the settings name, by key.
pub(in crate::commands) fn secret_files(settings: &Settings) -> Vec<(String, PathBuf)> {
    let mut files: Vec<(String, PathBuf)> = Vec::new();
    let mut add = |key: &str, file: &Option<PathBuf>| {
        files.extend(file.clone().map(|file| (key.to_owned(), file)));
    };
    if uses(settings, "redis") {
        add("redis.password_file", &settings.redis.password_file);
        add("redis.key", &settings.redis.key);
    }
    if uses(settings, "scylla") {
        add("scylla.password_file", &settings.scylla.password_file);
        add("scylla.key", &settings.scylla.key);
    }
    if uses(settings, "kafka") {
        add("kafka.sasl_password_file", &settings.kafka.sasl_password_file);
        add("kafka.key", &settings.kafka.key);
    }
    add("session.tls.key", &settings.tls.key);
    add("admin.tls.key", &settings.admin_tls.key);
    add("telemetry.otlp_headers_file", &settings.telemetry.otlp_headers_file);
    add("telemetry.otlp_key", &settings.telemetry.otlp_key);
    for (at, gateway) in settings.notify.gateways.iter().enumerate() {
        add(&format!("notify.gateways[{at}].authorization_file"), &gateway.authorization_file);
    }
    if settings.process.all().contains(&Role::Admin) && settings.admin.token_required {
        let file = token_file(&settings.admin, &settings.storage.data);
        // Where none is named it is made at the first start.
        if settings.admin.token_file.is_some() || file.exists() {
            add("admin.token_file", &Some(file));
        }
    }
    files
}

/// Passwords, tokens and keys: there, not empty, and for their owner only.
pub(super) fn secrets(settings: &Settings) -> Vec<Finding> {
    const CHECK: &str = "secrets";
    let mut findings: Vec<Finding> = Vec::new();
    for (key, file) in secret_files(settings) {
        findings.push(match read_secret(&file) {
            Err(error) => {
                let what = format!("{key}: expected a secret in {}, got: {error}", file.display());
                Finding::fail(CHECK, what, format!("write it to {} with umask 077", file.display()))
            }
            Ok(_) => private(CHECK, &key, &file),
        });
    }
    // Whoever looks after stored trees alone opens no secret.
    let opens = settings.process.all() != [Role::Snapshot];
    if let Some(file) = settings.secrets.key_file.as_ref().filter(|_| opens) {
        findings.push(match KeyRing::from_file(file) {
            Err(error) => {
                let why = service_kit::refusal::with_causes(&error);
                let what =
                    format!("secrets.key_file: expected lines of id:key in {}, got: {why}", file.display());
                let remedy = format!("(umask 077; flotilla secrets new-key --id 1 >> {})", file.display());
                Finding::fail(CHECK, what, remedy)
            }
            Ok(_) => private(CHECK, "secrets.key_file", file),
        });
    }
    findings
}

/// Whether others can read it. Kubernetes gives a pod's group what the pod reads, so a group may.
fn private(check: &'static str, key: &str, file: &Path) -> Finding {
    let shown = file.display();
    let mode = fs::metadata(file).map_or(0, |meta| meta.permissions().mode() & 0o777);
    if mode & 0o007 != 0 {
        let what = format!("{key}: {shown} has mode {mode:o}: others of this machine can read it");
        return Finding::warn(check, what, format!("chmod o= {shown}"));
    }
    Finding::ok(check, format!("{key}: {shown}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_lock_is_found_by_the_file() {
        let locks = "1: POSIX  ADVISORY  WRITE 7 08:01:42 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 99 08:01:41 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 1234 08:01:42 0 EOF\n\
                     3: -> FLOCK  ADVISORY  WRITE 1235 08:01:43 0 EOF\n";
        assert_eq!(holder(locks, 42), Some(1234));
        assert_eq!(holder(locks, 43), None);
    }

    #[test]
    fn looking_at_a_directory_in_use_leaves_its_lock_alone() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(lock_holder(dir.path()), None);
        let store = Embedded::open(dir.path(), &storage::embedded::Options::default()).unwrap();
        assert_eq!(lock_holder(dir.path()), Some(std::process::id()));
        drop(store);
    }
}
