//! Runs the server's commands against the tree and the host, and collects what there is to answer.

use dm_tree::{Actor, Input, Tree, TreeError};
use syncml::{Alert, Command, Data, Encoding, Group, Item, ItemCommand, Meta, StatusCode, alert};

use super::{
    Exec, Host, Quirks, answer,
    object::{Chunk, Incoming},
    outbox::{Out, OutItem, OutResults, OutStatus},
};

/// One message's execution.
pub(super) struct Executor<'a> {
    pub(super) tree: &'a mut Tree,
    pub(super) host: &'a mut dyn Host,
    pub(super) actor: Actor<'a>,
    pub(super) encoding: Encoding,
    pub(super) quirks: &'a Quirks,
    /// The server's message.
    pub(super) msg_ref: u32,
    /// The object that is coming in.
    pub(super) incoming: &'a mut Option<Incoming>,
    /// Octets of the largest object that is taken.
    pub(super) takes_octets_max: u64,
    /// Octets of the largest value that the server takes.
    pub(super) gives_octets_max: u64,
    pub(super) out: Vec<Out>,
    /// The object that the server broke off.
    pub(super) broken: Option<String>,
    /// The server lost our own object (alert 1225).
    pub(super) lost_ours: bool,
}

/// What became of one item of a command.
#[derive(Default)]
struct Outcome {
    target: Option<String>,
    source: Option<String>,
    code: StatusCode,
    items: Vec<String>,
    culprit: Option<String>,
}

/// What became of one command.
struct Performed<'c> {
    cmd_id: &'c str,
    name: &'static str,
    no_resp: bool,
    outcomes: Vec<Outcome>,
    results: Vec<OutItem>,
}

impl<'c> Performed<'c> {
    fn of(command: &'c Command<'_>, code: StatusCode) -> Self {
        let (name, cmd_id, no_resp) = described(command);
        Self {
            cmd_id,
            name,
            no_resp,
            outcomes: vec![Outcome { code, ..Outcome::default() }],
            results: vec![],
        }
    }

    fn is_success(&self) -> bool {
        self.outcomes.iter().all(|outcome| is_done(outcome.code))
    }

    fn is_refused_by_user(&self) -> bool {
        const BY_USER: [StatusCode; 3] =
            [StatusCode::NOT_MODIFIED, StatusCode::OPERATION_CANCELLED, StatusCode::REQUEST_TIMEOUT];
        self.name == "Alert" && self.outcomes.iter().any(|outcome| BY_USER.contains(&outcome.code))
    }
}

impl Executor<'_> {
    /// Runs a command of the body or of a Sequence. Gives back whether the user refused.
    pub(super) fn run(&mut self, command: &Command<'_>, outer: Option<&Meta<'_>>) -> bool {
        match command {
            Command::Status(_) | Command::Results(_) => false,
            Command::Atomic(group) => {
                self.break_off();
                self.atomic(command, group, outer);
                false
            }
            Command::Sequence(group) => {
                self.break_off();
                self.sequence(command, group, outer);
                false
            }
            _ => {
                let performed = self.perform(command, outer, false);
                let refused = performed.is_refused_by_user();
                self.answer(performed);
                refused
            }
        }
    }

    fn sequence(&mut self, command: &Command<'_>, group: &Group<'_>, outer: Option<&Meta<'_>>) {
        if group.cmd_id.is_empty() {
            return self.refuse(command, StatusCode::BAD_REQUEST, StatusCode::NOT_EXECUTED);
        }
        self.answer(Performed::of(command, StatusCode::OK));
        let meta = group.meta.as_deref().or(outer);
        let mut refused = false;
        for child in &group.commands {
            if refused {
                self.refuse(child, StatusCode::NOT_EXECUTED, StatusCode::NOT_EXECUTED);
            } else {
                refused = self.run(child, meta);
            }
        }
    }

    fn atomic(&mut self, command: &Command<'_>, group: &Group<'_>, outer: Option<&Meta<'_>>) {
        if group.cmd_id.is_empty() {
            return self.refuse(command, StatusCode::BAD_REQUEST, StatusCode::NOT_EXECUTED);
        }
        if !self.quirks.atomic {
            let code = StatusCode::OPTIONAL_FEATURE_NOT_SUPPORTED;
            return self.refuse(command, code, StatusCode::NOT_EXECUTED);
        }
        let meta = group.meta.as_deref().or(outer);
        let before = self.tree.clone();
        let mut done: Vec<Performed<'_>> = Vec::new();
        let mut failed = false;
        for child in &group.commands {
            let fits = matches!(
                child,
                Command::Add(_)
                    | Command::Replace(_)
                    | Command::Delete(_)
                    | Command::Copy(_)
                    | Command::Alert(_)
            );
            let performed = match (failed, fits) {
                (true, _) => Performed::of(child, StatusCode::NOT_EXECUTED),
                (false, true) => self.perform(child, meta, true),
                (false, false) => Performed::of(child, StatusCode::COMMAND_FAILED),
            };
            failed |= !performed.is_success();
            done.push(performed);
            for below in children(child) {
                flatten(below, StatusCode::NOT_EXECUTED, StatusCode::NOT_EXECUTED, &mut done);
            }
        }
        if failed {
            *self.tree = before;
            let undone = done.iter_mut().flat_map(|performed| &mut performed.outcomes);
            for outcome in undone.filter(|outcome| is_done(outcome.code)) {
                outcome.code = StatusCode::ATOMIC_ROLLED_BACK;
            }
        }
        let code = if failed { StatusCode::ATOMIC_FAILED } else { StatusCode::OK };
        self.answer(Performed::of(command, code));
        for performed in done {
            self.answer(performed);
        }
    }

    /// Answers a command, and all commands inside, without running any.
    fn refuse(&mut self, command: &Command<'_>, code: StatusCode, inside: StatusCode) {
        let mut all = Vec::new();
        flatten(command, code, inside, &mut all);
        for performed in all {
            self.answer(performed);
        }
    }

    fn answer(&mut self, performed: Performed<'_>) {
        answer(&mut self.out, self.msg_ref, self.quirks, performed);
    }

    fn perform<'c>(
        &mut self,
        command: &'c Command<'_>,
        outer: Option<&Meta<'_>>,
        in_atomic: bool,
    ) -> Performed<'c> {
        let mut performed = Performed::of(command, StatusCode::OK);
        if performed.cmd_id.is_empty() {
            performed.outcomes[0].code = StatusCode::BAD_REQUEST;
            return performed;
        }
        if !matches!(command, Command::Add(_) | Command::Replace(_) | Command::Alert(_)) {
            self.break_off();
        }
        let code = match command {
            Command::Add(c) | Command::Replace(c) if !c.items.is_empty() => {
                let name = performed.name;
                performed.outcomes =
                    c.items.iter().map(|item| self.write(name, c, item, outer, in_atomic)).collect();
                return performed;
            }
            Command::Delete(c) if !c.items.is_empty() => {
                performed.outcomes = c.items.iter().map(|item| self.delete(item)).collect();
                return performed;
            }
            Command::Copy(c) if !c.items.is_empty() => {
                performed.outcomes = c.items.iter().map(|item| self.copy(item)).collect();
                return performed;
            }
            Command::Get(c) if !c.items.is_empty() => {
                performed.outcomes =
                    c.items.iter().map(|item| self.get(item, &mut performed.results)).collect();
                return performed;
            }
            Command::Exec(c) if c.items.len() == 1 => {
                performed.outcomes = c.items.iter().map(|item| self.exec(c, item)).collect();
                return performed;
            }
            Command::Alert(alert) => {
                performed.outcomes = vec![self.alert(alert)];
                return performed;
            }
            Command::Map(_) | Command::Move(_) | Command::Put(_) | Command::Search(_) | Command::Sync(_) => {
                StatusCode::COMMAND_NOT_IMPLEMENTED
            }
            _ => StatusCode::INCOMPLETE_COMMAND,
        };
        performed.outcomes[0].code = code;
        performed
    }

    fn write(
        &mut self,
        name: &'static str,
        command: &ItemCommand<'_>,
        item: &Item<'_>,
        outer: Option<&Meta<'_>>,
        in_atomic: bool,
    ) -> Outcome {
        let metas = [item.meta.as_deref(), command.meta.as_deref(), outer];
        let format = metas.iter().flatten().find_map(|meta| meta.format.as_deref());
        let type_ = metas.iter().flatten().find_map(|meta| meta.type_.as_deref());
        let Some(target) = target_of(item) else { return incomplete(item) };
        let open = match self.incoming.take() {
            Some(open) if open.goes_on_with(item, name) && !in_atomic => Some(open),
            Some(other) => {
                self.broken = Some(other.target);
                None
            }
            None => None,
        };
        let open = match open {
            None if !item.more_data => {
                let data = item.data.as_ref().map(|data| octets(data, format));
                let result = self.change(name, target, Input { format, type_, data });
                return outcome(item, result);
            }
            None if in_atomic => return coded(item, StatusCode::COMMAND_FAILED),
            None if !self.quirks.large_objects => {
                return coded(item, StatusCode::OPTIONAL_FEATURE_NOT_SUPPORTED);
            }
            None => {
                let size = metas.iter().flatten().find_map(|meta| meta.size);
                match Incoming::begin(item, name, size, self.takes_octets_max) {
                    Ok(open) => Incoming {
                        format: format.map(str::to_owned),
                        type_: type_.map(str::to_owned),
                        ..open
                    },
                    Err(code) => return coded(item, code),
                }
            }
            Some(open) => open,
        };
        match open.push(item, self.incoming) {
            Chunk::Kept => coded(item, StatusCode::CHUNK_ACCEPTED),
            Chunk::Refused(code) => coded(item, code),
            Chunk::Whole(object) => {
                let format = object.format.as_deref().or(format);
                let type_ = object.type_.as_deref().or(type_);
                let result = self.change(name, target, Input { format, type_, data: Some(&object.data) });
                outcome(item, result)
            }
        }
    }

    fn change(&mut self, name: &str, target: &str, input: Input<'_>) -> Result<(), TreeError> {
        if input.data.is_some_and(|data| data.len() as u64 > self.takes_octets_max) {
            let max = usize::try_from(self.takes_octets_max).unwrap_or(usize::MAX);
            return Err(TreeError::TooLarge { max, octets: input.data.map_or(0, <[u8]>::len) });
        }
        match name {
            "Add" => self.tree.add(self.actor, target, input),
            _ => self.tree.replace(self.actor, target, input),
        }
    }

    fn delete(&mut self, item: &Item<'_>) -> Outcome {
        let Some(target) = target_of(item) else { return incomplete(item) };
        outcome(item, self.tree.delete(self.actor, target))
    }

    fn copy(&mut self, item: &Item<'_>) -> Outcome {
        let source = item.source.as_ref().map(|source| &*source.loc_uri);
        let (Some(source), Some(target)) = (source, target_of(item)) else { return incomplete(item) };
        outcome(item, self.tree.copy(self.actor, source, target))
    }

    fn get(&mut self, item: &Item<'_>, results: &mut Vec<OutItem>) -> Outcome {
        let Some(target) = target_of(item) else { return incomplete(item) };
        let readings = match self.tree.get(self.actor, target) {
            Ok(readings) => readings,
            Err(error) => return outcome(item, Err(error)),
        };
        // The value asked for is known by the address it was asked by; a list has addresses of its own.
        let asked = if target.contains("?list=S") { None } else { Some(target) };
        let asked = asked.map(|text| text.split("?list=").next().unwrap_or(text));
        let read: Vec<_> =
            readings.into_iter().map(|reading| OutItem::of(reading, asked, self.encoding)).collect();
        let length = |item: &OutItem| item.data.as_ref().map_or(0, |data| data.len() as u64);
        if read.iter().any(|item| length(item) > self.gives_octets_max) {
            return coded(item, StatusCode::REQUEST_ENTITY_TOO_LARGE);
        }
        results.extend(read);
        coded(item, StatusCode::OK)
    }

    fn exec(&mut self, command: &ItemCommand<'_>, item: &Item<'_>) -> Outcome {
        let Some(target) = target_of(item) else { return incomplete(item) };
        let uri = match self.tree.check_exec(self.actor, target) {
            Ok(uri) => uri,
            Err(error) => return outcome(item, Err(error)),
        };
        let exec = Exec {
            uri: &uri,
            correlator: command.correlator.as_deref(),
            data: item.data.as_ref().map(|data| octets(data, None)),
        };
        coded(item, self.host.exec(self.tree, exec))
    }

    fn alert(&mut self, alert: &Alert<'_>) -> Outcome {
        let code = match alert.code {
            Some(code @ alert::DISPLAY..=alert::MULTIPLE_CHOICE) => match answer::parse(code, alert) {
                Ok(interaction) => {
                    let answer = self.host.interact(&interaction);
                    return Outcome { code: answer.code, items: answer.items, ..Outcome::default() };
                }
                Err(code) => code,
            },
            Some(alert::NEXT_MESSAGE) => StatusCode::OK,
            Some(alert::NO_END_OF_DATA) => {
                self.lost_ours = true;
                StatusCode::OK
            }
            Some(_) => StatusCode::OPTIONAL_FEATURE_NOT_SUPPORTED,
            None => StatusCode::INCOMPLETE_COMMAND,
        };
        Outcome { code, ..Outcome::default() }
    }

    fn break_off(&mut self) {
        if let Some(open) = self.incoming.take() {
            self.broken = Some(open.target);
        }
    }
}

/// The answers to a message whose sender has not proved itself: the same code for every command.
pub(super) fn refuse_all(
    commands: &[Command<'_>],
    code: StatusCode,
    msg_ref: u32,
    quirks: &Quirks,
) -> Vec<Out> {
    let mut all = Vec::new();
    for command in commands {
        flatten(command, code, code, &mut all);
    }
    let mut out = Vec::new();
    for performed in all {
        answer(&mut out, msg_ref, quirks, performed);
    }
    out
}

fn answer(out: &mut Vec<Out>, msg_ref: u32, quirks: &Quirks, performed: Performed<'_>) {
    let Performed { cmd_id, name, no_resp, mut outcomes, results } = performed;
    let is_one = outcomes.windows(2).all(|pair| pair[0].code == pair[1].code)
        && outcomes.iter().all(|outcome| outcome.culprit.is_none());
    if is_one && outcomes.len() > 1 {
        outcomes.truncate(1);
        (outcomes[0].target, outcomes[0].source) = (None, None);
    }
    for outcome in outcomes.into_iter().filter(|_| !no_resp) {
        out.push(Out::Status(OutStatus {
            msg_ref,
            cmd_ref: cmd_id.to_owned(),
            cmd: name.to_owned(),
            target_ref: outcome.target.filter(|_| !quirks.omits_target_ref || !is_one),
            source_ref: outcome.source,
            code: outcome.code.0,
            items: outcome.items,
            culprit: outcome.culprit,
        }));
    }
    let results_of = |items| Out::Results(OutResults { msg_ref, cmd_ref: cmd_id.to_owned(), items });
    if quirks.results_apart {
        out.extend(results.into_iter().map(|item| results_of(vec![item])));
    } else if !results.is_empty() {
        out.push(results_of(results));
    }
}

fn flatten<'c>(
    command: &'c Command<'_>,
    code: StatusCode,
    inside: StatusCode,
    into: &mut Vec<Performed<'c>>,
) {
    if matches!(command, Command::Status(_) | Command::Results(_)) {
        return;
    }
    into.push(Performed::of(command, code));
    for child in children(command) {
        flatten(child, inside, inside, into);
    }
}

fn children<'c, 'm>(command: &'c Command<'m>) -> &'c [Command<'m>] {
    match command {
        Command::Atomic(group) | Command::Sequence(group) => &group.commands,
        Command::Sync(sync) => &sync.commands,
        _ => &[],
    }
}

fn described<'c>(command: &'c Command<'_>) -> (&'static str, &'c str, bool) {
    match command {
        Command::Add(c) => ("Add", &c.cmd_id, c.no_resp),
        Command::Alert(c) => ("Alert", &c.cmd_id, c.no_resp),
        Command::Atomic(c) => ("Atomic", &c.cmd_id, c.no_resp),
        Command::Copy(c) => ("Copy", &c.cmd_id, c.no_resp),
        Command::Delete(c) => ("Delete", &c.cmd_id, c.no_resp),
        Command::Exec(c) => ("Exec", &c.cmd_id, c.no_resp),
        Command::Get(c) => ("Get", &c.cmd_id, c.no_resp),
        Command::Map(c) => ("Map", &c.cmd_id, false),
        Command::Move(c) => ("Move", &c.cmd_id, c.no_resp),
        Command::Put(c) => ("Put", &c.cmd_id, c.no_resp),
        Command::Replace(c) => ("Replace", &c.cmd_id, c.no_resp),
        Command::Results(c) => ("Results", &c.cmd_id, false),
        Command::Search(c) => ("Search", &c.cmd_id, c.no_resp),
        Command::Sequence(c) => ("Sequence", &c.cmd_id, c.no_resp),
        Command::Status(c) => ("Status", &c.cmd_id, false),
        Command::Sync(c) => ("Sync", &c.cmd_id, c.no_resp),
    }
}

// Text of a C client's server may carry its NUL; octets stay as they are.
fn octets<'d>(data: &'d Data<'_>, format: Option<&str>) -> &'d [u8] {
    let is_octets = format.is_some_and(|format| format.trim().eq_ignore_ascii_case("bin"));
    match data {
        Data::Bytes(bytes) if is_octets => bytes,
        data => data.as_text().map_or(data.as_bytes(), str::as_bytes),
    }
}

// By their first digit "cancelled" and "not executed" would be successes too.
fn is_done(code: StatusCode) -> bool {
    code.is_success() && !matches!(code, StatusCode::OPERATION_CANCELLED | StatusCode::NOT_EXECUTED)
}

fn target_of<'i>(item: &'i Item<'_>) -> Option<&'i str> {
    item.target.as_ref().map(|target| &*target.loc_uri)
}

fn outcome(item: &Item<'_>, result: Result<(), TreeError>) -> Outcome {
    match result {
        Ok(()) => coded(item, StatusCode::OK),
        Err(error) => {
            Outcome { culprit: error.culprit().map(dm_tree::full), ..coded(item, StatusCode(error.status())) }
        }
    }
}

fn coded(item: &Item<'_>, code: StatusCode) -> Outcome {
    let text = |location: &Option<syncml::Location<'_>>| {
        location.as_ref().map(|location| location.loc_uri.clone().into_owned())
    };
    Outcome { target: text(&item.target), source: text(&item.source), code, ..Outcome::default() }
}

fn incomplete(item: &Item<'_>) -> Outcome {
    coded(item, StatusCode::INCOMPLETE_COMMAND)
}
