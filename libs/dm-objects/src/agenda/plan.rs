//! What to send next: decided anew whenever the package is back, from the task's stage and what is known by then.

use std::borrow::Cow;

use dm_protocol::server::{Draft, DraftItem, DraftValue};
use dm_tree::Format;
use syncml::StatusCode;

use super::{
    Agenda, Fact, FirmwareFact, FirmwareMethod, FirmwareStage, FirmwareTask,
    locate::{Locator, Next},
    report::correlator_of,
    shown,
    work::{DevDetailReading, Nodes, Prepared, Reading, Sent, What, accepted},
};
use crate::{
    dev_detail,
    fumo::{FumoResult, FumoState, Operation},
    outcome::ResultClass,
};

/// The first operation to run for a method on a node with these children; `None`: it cannot.
pub(super) fn choose(method: &FirmwareMethod, nodes: Nodes) -> Option<Operation> {
    let in_two = (nodes.download && nodes.update).then_some(Operation::Download);
    match method {
        FirmwareMethod::Url(_) if nodes.download_and_update => Some(Operation::DownloadAndUpdate),
        FirmwareMethod::Url(_) | FirmwareMethod::DownloadThenUpdate(_) => in_two,
        FirmwareMethod::InBand { .. } => nodes.update.then_some(Operation::Update),
    }
}

impl Agenda {
    /// Every command has its outcome: decides the next package.
    pub(super) fn plan(&mut self) {
        if !self.work.begun {
            return;
        }
        let outcomes = self.work.settle();
        self.plan_dev_detail();
        let Some(task) = self.task.clone().filter(|_| !self.work.ended) else { return };
        match task.stage {
            FirmwareStage::Pending => self.plan_pending(&task, &outcomes),
            FirmwareStage::Downloaded => self.plan_update(&task),
            FirmwareStage::Reported => self.plan_read_back(),
            FirmwareStage::DownloadExecSent
            | FirmwareStage::Downloading
            | FirmwareStage::ExecSent
            | FirmwareStage::Updating => self.plan_waiting(&task),
        }
    }

    fn plan_dev_detail(&mut self) {
        match self.work.dev_detail {
            DevDetailReading::Unasked if !self.known.dev_detail_fresh => {
                self.work.dev_detail = DevDetailReading::Together;
                let leaves = dev_detail::LEAVES.iter().map(|&uri| Cow::Borrowed(uri)).collect();
                self.work.queue(What::DevDetail, Draft::Get(leaves));
                self.work.fw_v = Reading::Waiting;
            }
            DevDetailReading::Together if self.work.dev_detail_leaves == 0 => {
                self.work.dev_detail = DevDetailReading::Singly;
                for uri in dev_detail::LEAVES {
                    self.work.queue_get(What::DevDetail, uri);
                }
                self.work.fw_v = Reading::Waiting;
            }
            DevDetailReading::Together | DevDetailReading::Singly => {
                self.work.dev_detail = DevDetailReading::Done;
                self.facts.push_back(Fact::DevDetailRead);
            }
            DevDetailReading::Unasked | DevDetailReading::Done => {}
        }
    }

    fn plan_pending(&mut self, task: &FirmwareTask, outcomes: &[Sent]) {
        match self.work.prepared {
            Prepared::No => self.prepare(task),
            Prepared::Replacing(operation) => {
                match outcome_of(outcomes, What::Package) {
                    // Nobody made the leaf yet.
                    404 => {
                        self.work.prepared = Prepared::Adding(operation);
                        self.queue_package(task, operation, What::PackageAdd);
                    }
                    code => self.execute_after(task, operation, code, "Replace"),
                }
            }
            Prepared::Adding(operation) => {
                self.execute_after(task, operation, outcome_of(outcomes, What::PackageAdd), "Add");
            }
        }
    }

    /// Looks whether, where and how, then writes the package's address (or the package) and its labels.
    fn prepare(&mut self, task: &FirmwareTask) {
        if self.survey(true) || self.is_already_current(task) {
            return;
        }
        let Some(nodes) = self.inspect(task) else { return };
        if self.work.state.known().is_some_and(|state| state.is_running()) {
            // An earlier attempt still runs there. Its end is waited for: a second Exec beside it could install twice.
            return;
        }
        let Some(operation) = choose(&task.method, nodes) else {
            return self.end(lacks_operation(task, nodes));
        };
        for (exists, node, value) in [
            (nodes.pkg_name, "PkgName", &task.package_name),
            (nodes.pkg_version, "PkgVersion", &task.package_version),
        ] {
            if exists && !value.is_empty() {
                let item = chr(self.in_root(node), value);
                self.work.queue(What::Label, Draft::Replace(item));
            }
        }
        self.work.prepared = Prepared::Replacing(operation);
        self.queue_package(task, operation, What::Package);
    }

    fn queue_package(&mut self, task: &FirmwareTask, operation: Operation, what: What) {
        let target = self.in_root(package_node(task, operation));
        let item = match &task.method {
            FirmwareMethod::Url(url) | FirmwareMethod::DownloadThenUpdate(url) => chr(target, url),
            FirmwareMethod::InBand { digest, size } => DraftItem {
                target: target.into(),
                format: Format::Bin,
                type_: None,
                value: DraftValue::Artifact { digest: *digest, size: *size },
            },
        };
        let draft = if what == What::PackageAdd { Draft::Add(item) } else { Draft::Replace(item) };
        self.work.queue(what, draft);
    }

    /// The package is written, or was refused.
    fn execute_after(&mut self, task: &FirmwareTask, operation: Operation, code: u16, verb: &str) {
        if !accepted(code) {
            let command = format!("{verb} {}", shown(&self.in_root(package_node(task, operation))));
            return self.end(FirmwareFact::Refused { code: StatusCode(code), command });
        }
        if operation == Operation::Update {
            self.advance(FirmwareStage::Downloaded);
        }
        self.queue_exec(task, operation);
    }

    /// The package is on the device: has it installed.
    fn plan_update(&mut self, task: &FirmwareTask) {
        if self.survey(true) || self.is_already_current(task) {
            return;
        }
        let Some(nodes) = self.inspect(task) else { return };
        if self.work.state.known() == Some(&FumoState::UpdateProgressing) {
            return;
        }
        if nodes.update {
            self.queue_exec(task, Operation::Update);
        } else {
            self.end(lacks_operation(task, nodes));
        }
    }

    fn queue_exec(&mut self, task: &FirmwareTask, operation: Operation) {
        self.work.exec_here = false;
        self.work.exec_status = None;
        self.work.confirmed = false;
        let draft = Draft::Exec {
            target: self.in_root(operation.node()).into(),
            correlator: Some(correlator_of(task, operation)),
            data: None,
        };
        self.work.queue(What::Exec(operation), draft);
    }

    /// An Exec is out, its report has not come.
    fn plan_waiting(&mut self, task: &FirmwareTask) {
        if self.work.exec_here {
            // 202: the report comes later. 200: perhaps it is all done.
            if self.work.exec_status != Some(200) {
                return;
            }
            if !self.work.confirmed {
                self.work.confirmed = true;
                self.work.state_before = self.work.state.known().copied();
                self.work.fw_v = Reading::Unasked;
                self.work.state = Reading::Unasked;
            }
        }
        // Of a package that lies there, only the node's children tell whether the Exec was an Update's.
        let is_unclear =
            task.stage == FirmwareStage::ExecSent && matches!(task.method, FirmwareMethod::Url(_));
        if self.survey(is_unclear) {
            return;
        }
        self.judge(task);
        if self.known.fumo_root.is_none() && !self.work.ended {
            // After a restore an Exec may have left that found the node, while what it found is lost.
            self.locate(task);
        }
    }

    /// The last Exec was an Update's, for a package that was on the device already.
    fn was_update(&self, task: &FirmwareTask) -> bool {
        let has_both_in_one = || self.work.nodes.known().is_none_or(|nodes| nodes.download_and_update);
        !matches!(task.method, FirmwareMethod::Url(_)) || !has_both_in_one()
    }

    /// What version and State tell where no report did.
    fn judge(&mut self, task: &FirmwareTask) {
        use FirmwareStage as Stage;
        let version = self.work.fw_v.known().cloned();
        let success = FumoResult::Success.code();
        if let Some(version) = version.clone().filter(|version| *version == task.target_version) {
            return self.end(FirmwareFact::Done { code: success, version });
        }
        let Some(&state) = self.work.state.known() else { return };
        if self.work.exec_here && self.work.state_before == Some(state) {
            // The end of an earlier attempt may still stand there: some answer 200 before they begin.
            return;
        }
        if let Some(result) = state.implied_result().filter(|result| result.class() != ResultClass::Success) {
            return self.end(FirmwareFact::Failed { code: result.code() });
        }
        let has_updated = state.implied_result().is_some();
        let is_at_rest = state == FumoState::Idle || has_updated;
        match task.stage {
            // No status came for the Exec, and nothing runs that it may have started. A package that is there may be
            // an older one, so it is not built upon.
            Stage::DownloadExecSent if is_at_rest || state.has_package() => self.end(FirmwareFact::ExecLost),
            Stage::ExecSent if is_at_rest => self.end(FirmwareFact::ExecLost),
            Stage::ExecSent if state.has_package() && self.was_update(task) => {
                self.end(FirmwareFact::ExecLost);
            }
            Stage::Downloading if state.has_package() => {
                self.advance(Stage::Downloaded);
                self.plan_update(task);
            }
            // It says that the update went well, and the version says otherwise.
            Stage::Updating if has_updated => {
                self.end(FirmwareFact::Done { code: success, version: version.unwrap_or_default() });
            }
            _ => {}
        }
    }

    /// The device reported success: the version proves it.
    fn plan_read_back(&mut self) {
        if self.work.read_back.is_unasked() {
            self.work.read_back = Reading::Waiting;
            self.work.queue_get(What::ReadBack, dev_detail::FW_V);
            return;
        }
        let code = self.work.report_code.unwrap_or(FumoResult::Success.code());
        let version = self.work.read_back.known().cloned().unwrap_or_default();
        self.end(FirmwareFact::Done { code, version });
    }

    /// Asks, in one package, for all that is needed and can be asked by now. True when something was asked.
    fn survey(&mut self, with_nodes: bool) -> bool {
        if self.work.fw_v.is_unasked() {
            self.work.fw_v = Reading::Waiting;
            self.work.queue_get(What::FwV, dev_detail::FW_V);
        }
        if self.known.fumo_root.is_some() {
            if with_nodes && self.work.nodes.is_unasked() {
                self.work.nodes = Reading::Waiting;
                let root = self.in_root("");
                self.work.queue_get(What::Nodes, root);
            }
            if self.work.state.is_unasked() {
                self.work.state = Reading::Waiting;
                let state = self.in_root("State");
                self.work.queue_get(What::State, state);
            }
        }
        !self.work.outbox.is_empty()
    }

    fn is_already_current(&mut self, task: &FirmwareTask) -> bool {
        let Some(version) = self.work.fw_v.known().filter(|version| **version == task.target_version) else {
            return false;
        };
        let version = version.clone();
        self.end(FirmwareFact::AlreadyCurrent { version });
        true
    }

    /// The FUMO node's children. `None`: they have been asked for, or there is no such node.
    fn inspect(&mut self, task: &FirmwareTask) -> Option<Nodes> {
        if self.known.fumo_root.is_some() {
            match self.work.nodes {
                Reading::Known(nodes) => return Some(nodes),
                // Where the node was once, or should be for the model, is none: look anew.
                Reading::Absent if self.work.root_is_gone && self.work.locator.is_none() => {
                    self.known.fumo_root = None;
                    self.work.nodes = Reading::Unasked;
                    self.work.state = Reading::Unasked;
                }
                // It is there and does not show its children. The Exec will tell.
                _ => return Some(Nodes::ANY),
            }
        }
        self.locate(task);
        None
    }

    /// One step of the search; a find is inspected at once.
    fn locate(&mut self, task: &FirmwareTask) {
        let next = match &mut self.work.locator {
            None => {
                let (locator, next) = Locator::begin(&self.known.fumo_search_roots);
                self.work.locator = Some(locator);
                next
            }
            Some(locator) => match locator.found(&task.method).cloned() {
                Some(found) => {
                    self.facts.push_back(Fact::FumoRoot(found.uri.clone()));
                    self.known.fumo_root = Some(found.uri);
                    if found.nodes != Nodes::default() {
                        self.work.nodes = Reading::Known(found.nodes);
                    }
                    // The State is yet to be read, and the children where only the id was seen.
                    self.survey(true);
                    return;
                }
                None => locator.next(),
            },
        };
        match next {
            Next::Struct(lists) => lists.into_iter().for_each(|list| self.work.queue_get(What::Struct, list)),
            Next::Level(nodes) => nodes.into_iter().for_each(|node| self.work.queue_get(What::Level, node)),
            Next::Over => {
                let looked_at = self.work.locator.as_ref().map(Locator::looked_at).unwrap_or_default();
                self.end(FirmwareFact::NotCapable { reason: format!("no FUMO node under {looked_at}") });
            }
        }
    }

    /// The address of a node below FUMO's; of FUMO's own for an empty path.
    fn in_root(&self, path: &str) -> String {
        let root = self.known.fumo_root.as_deref().unwrap_or_default();
        if path.is_empty() { root.to_owned() } else { format!("{root}/{path}") }
    }
}

/// The status of a single command of the package; 500 where the device gave none.
fn outcome_of(outcomes: &[Sent], what: What) -> u16 {
    outcomes.iter().find(|sent| sent.what == what).and_then(|sent| sent.status).unwrap_or(500)
}

/// The leaf that takes the package's address, or the package.
fn package_node(task: &FirmwareTask, operation: Operation) -> &'static str {
    match (&task.method, operation) {
        (FirmwareMethod::InBand { .. }, _) => "Update/PkgData",
        (_, Operation::DownloadAndUpdate) => "DownloadAndUpdate/PkgURL",
        (_, Operation::Download | Operation::Update) => "Download/PkgURL",
    }
}

fn lacks_operation(task: &FirmwareTask, nodes: Nodes) -> FirmwareFact {
    let wanted = match task.method {
        FirmwareMethod::Url(_) => "DownloadAndUpdate, or Download and Update",
        FirmwareMethod::DownloadThenUpdate(_) => "Download and Update",
        FirmwareMethod::InBand { .. } => "Update",
    };
    let has: Vec<_> = [
        (nodes.download, "Download"),
        (nodes.update, "Update"),
        (nodes.download_and_update, "DownloadAndUpdate"),
    ]
    .into_iter()
    .filter_map(|(has, name)| has.then_some(name))
    .collect();
    let has = if has.is_empty() { "no operation".to_owned() } else { has.join(" and ") };
    FirmwareFact::NotCapable { reason: format!("expected {wanted} at the FUMO node, got {has}") }
}

fn chr(target: String, value: &str) -> DraftItem {
    DraftItem {
        target: target.into(),
        format: Format::Chr,
        type_: Some("text/plain".into()),
        value: DraftValue::Inline(value.as_bytes().to_vec()),
    }
}
