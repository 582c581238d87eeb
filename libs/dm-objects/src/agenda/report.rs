//! Alerts: whose they are, and what they say of the task.

use dm_protocol::server::DeviceAlert;

use super::{Agenda, Fact, FirmwareFact, FirmwareStage, FirmwareTask, normalised};
use crate::{
    fumo::{FumoAlert, FumoResult, Operation},
    outcome::ResultClass,
};

impl Agenda {
    pub(super) fn handle_alert(&mut self, alert: &DeviceAlert) {
        let result = FumoResult::parse(&alert.data);
        match result.filter(|_| self.is_ours(alert)) {
            Some(result) => self.handle_report(FumoAlert::of(alert), result),
            // A report without a code is kept for the history; the version and the State decide then.
            None => self.facts.push_back(Fact::Alert(alert.clone())),
        }
    }

    /// The alert reports on the task: by its correlator, or by source and type where the device echoes none.
    fn is_ours(&self, alert: &DeviceAlert) -> bool {
        let Some(task) = self.task.as_ref().filter(|_| !self.work.ended) else { return false };
        let kind = FumoAlert::of(alert);
        if matches!(kind, Some(FumoAlert::DeviceRequest | FumoAlert::UserRequest)) {
            return false;
        }
        match alert.correlator.as_deref().map(str::trim).filter(|correlator| !correlator.is_empty()) {
            Some(correlator) => {
                correlator.strip_suffix(DOWNLOAD_SUFFIX).unwrap_or(correlator) == task.correlator
            }
            None => kind.is_some() && awaits_report(task) && self.is_our_source(alert.source.as_deref()),
        }
    }

    fn is_our_source(&self, source: Option<&str>) -> bool {
        let Some(root) = self.known.fumo_root.as_deref() else { return true };
        let Some(source) = source.map(normalised).filter(|source| !source.is_empty()) else { return true };
        source == root || is_below(source, root) || is_below(root, source)
    }

    fn handle_report(&mut self, kind: Option<FumoAlert>, result: FumoResult) {
        let Some(stage) = self.task.as_ref().map(|task| task.stage) else { return };
        if stage >= FirmwareStage::Reported {
            // The report once more: its 200 was lost. The first one stands.
            self.work.report_code.get_or_insert(result.code());
            return;
        }
        if result.class() != ResultClass::Success {
            self.end(FirmwareFact::Failed { code: result.code() });
            return;
        }
        let downloading = matches!(stage, FirmwareStage::DownloadExecSent | FirmwareStage::Downloading);
        match kind {
            Some(FumoAlert::Ended(Operation::Download)) | None if downloading => {
                self.advance(FirmwareStage::Downloaded);
            }
            // The half of a DownloadAndUpdate, or a report of before once more: the end is yet to come.
            Some(FumoAlert::Ended(Operation::Download)) => {}
            _ => {
                self.work.report_code = Some(result.code());
                self.advance(FirmwareStage::Reported);
            }
        }
    }
}

/// Tells the Exec of a Download from that of the Update which follows it: each Exec has a correlator of its own.
const DOWNLOAD_SUFFIX: &str = "-d";

/// What an Exec of the task carries, and its report echoes.
pub(super) fn correlator_of(task: &FirmwareTask, operation: Operation) -> String {
    match operation {
        Operation::Download => format!("{}{DOWNLOAD_SUFFIX}", task.correlator),
        Operation::Update | Operation::DownloadAndUpdate => task.correlator.clone(),
    }
}

/// An Exec of the task may run on the device.
fn awaits_report(task: &FirmwareTask) -> bool {
    match task.stage {
        FirmwareStage::Pending | FirmwareStage::Downloaded => false,
        FirmwareStage::DownloadExecSent
        | FirmwareStage::Downloading
        | FirmwareStage::ExecSent
        | FirmwareStage::Updating
        | FirmwareStage::Reported => true,
    }
}

fn is_below(uri: &str, ancestor: &str) -> bool {
    uri.strip_prefix(ancestor).is_some_and(|rest| rest.starts_with('/'))
}
