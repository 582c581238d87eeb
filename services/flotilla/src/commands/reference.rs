//! `flotilla reference`: the pages of docs/ that are made from the program itself. `docs/generate` writes them.

use std::fmt::Write as _;

use clap::{Args, CommandFactory as _, ValueEnum};
use service_kit::{Settings, settings::KeyDoc};

use crate::{
    cli::Cli,
    exit::{Exit, Failure},
    output,
};

/// Columns of a page of help.
const COLUMNS: usize = 110;

#[derive(Args, Debug)]
pub(crate) struct ReferenceArgs {
    /// Which page
    page: Page,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Page {
    /// docs/cli.md
    Cli,
    /// docs/settings.md
    Settings,
}

pub(crate) fn run(args: &ReferenceArgs) -> Result<Exit, Failure> {
    let page = match args.page {
        Page::Cli => commands(),
        Page::Settings => settings(),
    };
    output::print_line(page.trim_end())?;
    Ok(Exit::Ok)
}

/// Every command, as its `--help` has it.
fn commands() -> String {
    let mut text = String::from(
        "# Commands\n\n\
        Made by `docs/generate` from the program; `flotilla COMMAND --help` says the same. What all commands have in common (how they find the\n\
        server, forms of output, exit codes) stands in [the program's own page](../services/flotilla/README.md#conventions).\n",
    );
    let mut pages = Vec::new();
    let root = Cli::command().term_width(COLUMNS).disable_help_subcommand(true);
    collect(root, "", &mut pages);
    text.push('\n');
    for (path, command) in &pages {
        let depth = path.split(' ').count().saturating_sub(1);
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(text, "{}- [`{path}`](#{}) {about}", "  ".repeat(depth), path.replace(' ', "-"));
    }
    for (path, mut command) in pages {
        let level = if path.split(' ').count() > 2 { "###" } else { "##" };
        let help = command.render_long_help().to_string();
        let lines: Vec<_> = help.lines().map(str::trim_end).collect();
        let _ = write!(text, "\n{level} {path}\n\n```text\n{}\n```\n", lines.join("\n").trim_end());
    }
    text
}

fn collect(command: clap::Command, before: &str, pages: &mut Vec<(String, clap::Command)>) {
    let path = format!("{before} {}", command.get_name()).trim_start().to_owned();
    // What the environment of whoever makes the page says is nobody's business.
    let mut command = command.bin_name(path.clone()).mut_args(|arg| arg.hide_env_values(true));
    command.build();
    let subs: Vec<_> = command.get_subcommands().filter(|sub| !sub.is_hide_set()).cloned().collect();
    pages.push((path.clone(), command));
    for sub in subs.into_iter().filter(|sub| sub.get_name() != "help") {
        collect(sub.term_width(COLUMNS).disable_help_subcommand(true), &path, pages);
    }
}

/// Every setting, by section.
fn settings() -> String {
    let mut text = String::from(
        "# Settings\n\n\
        Made by `docs/generate` from the program; `flotilla config example` prints the same as a file to begin with, and\n\
        `flotilla serve --check-config` names every mistake at once.\n\n\
        The file (`--config`, TOML) is weakest, then the environment, then flags. `session.listen` is `FLOTILLA__SESSION__LISTEN` in the\n\
        environment: two underscores for each dot. Times are written as `\"30s\"`, `\"5m\"`, `\"24h\"`, sizes as `\"64 KiB\"`.\n\
        Passwords and keys stand in files of their own, which settings name.\n",
    );
    let mut section = "";
    for KeyDoc { key, default, doc } in Settings::reference() {
        let (of, _) = key.rsplit_once('.').unwrap_or(("", key));
        if of != section {
            section = of;
            let _ = write!(text, "\n## {section}\n\n| key | default | meaning |\n|---|---|---|\n");
        }
        let doc: Vec<_> = doc.lines().map(str::trim).collect();
        let default = default.map_or_else(|| "unset".to_owned(), |default| format!("`{default}`"));
        let _ = writeln!(text, "| `{key}` | {default} | {} |", cell(&doc.join(" ")));
    }
    text
}

fn cell(text: &str) -> String {
    text.trim().replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `docs/generate` writes these anew.
    #[test]
    fn the_pages_are_what_the_program_says() {
        for (name, made) in [("cli.md", commands()), ("settings.md", settings())] {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
            let made = format!("{}\n", made.trim_end());
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                std::fs::write(&path, &made).unwrap();
            }
            let kept = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(made == kept, "run docs/generate, which writes {path:?} anew");
        }
    }
}
