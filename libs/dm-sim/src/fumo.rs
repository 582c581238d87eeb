//! The firmware side of a simulated device: states, operations, reports, and a count of every Exec that came.

use std::borrow::Cow;

use dm_objects::fumo::{FumoEvent, FumoResult, FumoState, Operation};
use dm_tree::Tree;
use jiff::Timestamp;
use syncml::StatusCode;

use crate::{Chance, FaultPlan, model::Model};

/// Execs that are told apart at most; a device sees a handful in its life.
const EXECS_MAX: usize = 256;

/// How often one operation was ordered under one correlator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecCount {
    /// As it came; empty where none did.
    pub correlator: Box<str>,
    /// What was ordered.
    pub operation: Operation,
    /// 1, unless something went wrong.
    pub times: u32,
}

/// A report that waits for the server's 200.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingAlert {
    /// Of the Exec it reports on.
    pub correlator: Option<Box<str>>,
    /// The FUMO node, or the operation's.
    pub source: String,
    /// The alert's type.
    pub type_: &'static str,
    /// The result code.
    pub code: u16,
}

/// How an attempt will go: drawn when its Exec comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fate {
    /// It ends with this code.
    pub fails: Option<FumoResult>,
    /// The version stays what it was.
    pub keeps_version: bool,
    /// The device is never heard of again.
    pub silent: bool,
}

impl Fate {
    /// The fate of an attempt by its correlator: a new attempt draws anew, a silent device stays silent.
    pub fn draw(seed: u64, number: u32, correlator: &str, plan: &FaultPlan) -> Self {
        let number = u64::from(number);
        let silent = Chance::new(seed, number, "silent").hits(plan.silent);
        let mut chance = Chance::new(seed, number, &format!("attempt {correlator}"));
        let fails = chance.hits(plan.failing).then(|| {
            let index = chance.pick(plan.failing_codes.iter().map(|(_, weight)| *weight));
            FumoResult::from_code(plan.failing_codes.get(index).map_or(410, |(code, _)| *code))
        });
        Self { fails, keeps_version: chance.hits(plan.wrong_version), silent }
    }

    /// The failure strikes while downloading, not while installing.
    pub fn fails_download(self) -> Option<FumoResult> {
        use FumoResult as R;
        self.fails.filter(|result| {
            matches!(
                result,
                R::UserCancelled
                    | R::CorruptPackage
                    | R::DownloadAuthFailed
                    | R::DownloadTimeout
                    | R::BadUrl
                    | R::DownloadServerUnavailable
                    | R::DownloadServerError
                    | R::DownloadOutOfMemory
                    | R::DownloadNetworkError
            )
        })
    }
}

/// An operation that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// What is to be done.
    pub operation: Operation,
    /// To be echoed.
    pub correlator: Option<Box<str>>,
    /// Where the package is; empty for [`Operation::Update`].
    pub url: String,
    /// How it will go.
    pub fate: Fate,
}

/// The FUMO node of one device, beside its leaves in the tree.
#[derive(Clone, Debug)]
pub struct Fumo {
    state: FumoState,
    /// Orders and reports are rare, and a fleet holds many devices that have neither.
    alerts: Vec<PendingAlert>,
    execs: Vec<ExecCount>,
    /// Of them, the one that the last Exec moved.
    latest: Option<usize>,
    /// Orders that came without a correlator.
    unnamed: u16,
    order: Option<Box<Order>>,
}

impl Default for Fumo {
    fn default() -> Self {
        Self {
            state: FumoState::Idle,
            alerts: Vec::new(),
            execs: Vec::new(),
            latest: None,
            unnamed: 0,
            order: None,
        }
    }
}

impl Fumo {
    /// The state.
    pub fn state(&self) -> FumoState {
        self.state
    }

    /// The operation that was accepted and has not ended.
    pub fn order(&self) -> Option<&Order> {
        self.order.as_deref()
    }

    /// Every Exec that came, by correlator and operation.
    pub fn execs(&self) -> &[ExecCount] {
        &self.execs
    }

    /// The count that the last Exec moved.
    pub(crate) fn latest_exec(&self) -> Option<&ExecCount> {
        self.latest.and_then(|at| self.execs.get(at))
    }

    /// Reports that wait for the server's 200, in their order.
    pub fn alerts(&self) -> &[PendingAlert] {
        &self.alerts
    }

    /// The server took these reports, by their places in [`Fumo::alerts`].
    pub fn handle_acknowledged(&mut self, alerts: &[usize]) {
        let mut index = 0;
        self.alerts.retain(|_| {
            index += 1;
            !alerts.contains(&(index - 1))
        });
        self.alerts.shrink_to_fit();
    }

    /// An Exec came. `uri` is normalised. Every one is counted, whatever is answered.
    pub fn handle_exec(
        &mut self,
        model: &Model,
        tree: &mut Tree,
        uri: &str,
        correlator: Option<&str>,
        draw: impl FnOnce(&str) -> Fate,
        now: Timestamp,
    ) -> StatusCode {
        let name = uri.strip_prefix(model.fumo_root).and_then(|rest| rest.strip_prefix('/'));
        let operation = match name {
            Some("Download") => Operation::Download,
            Some("Update") => Operation::Update,
            Some("DownloadAndUpdate") => Operation::DownloadAndUpdate,
            _ => return StatusCode(405),
        };
        let name = self.name(correlator);
        self.count(&name, operation);
        let pushed = format!("{uri}/PkgData");
        if operation == Operation::Update && tree.leaf(&pushed).is_some_and(|leaf| !leaf.value.is_empty()) {
            self.step(model, tree, FumoEvent::PackageWritten, now);
            // It is installed from there, once.
            let _ = tree.set(&pushed, b"", now);
        }
        let event = match operation {
            Operation::Download => FumoEvent::ExecDownload,
            Operation::Update => FumoEvent::ExecUpdate,
            Operation::DownloadAndUpdate => FumoEvent::ExecDownloadAndUpdate,
        };
        let Some(next) = self.state.after(event).filter(|_| self.order.is_none()) else {
            return StatusCode(405);
        };
        let url = tree.text(&format!("{uri}/PkgURL")).unwrap_or_default().to_owned();
        if operation != Operation::Update && url.is_empty() {
            return StatusCode(405);
        }
        let fate = draw(&name);
        self.order = Some(Box::new(Order { operation, correlator: correlator.map(Into::into), url, fate }));
        self.enter(model, tree, next, now);
        StatusCode(202)
    }

    /// The package has arrived and is good. True when the installation follows at once.
    pub fn handle_downloaded(&mut self, model: &Model, tree: &mut Tree, now: Timestamp) -> bool {
        self.step(model, tree, FumoEvent::Downloaded, now);
        if self.order.as_ref().is_some_and(|order| order.operation == Operation::DownloadAndUpdate) {
            self.step(model, tree, FumoEvent::UpdateStarted, now);
            return true;
        }
        self.report(model, FumoResult::Success);
        false
    }

    /// The package could not be had.
    pub fn handle_download_failed(
        &mut self,
        model: &Model,
        tree: &mut Tree,
        result: FumoResult,
        now: Timestamp,
    ) {
        self.step(model, tree, FumoEvent::DownloadFailed, now);
        self.report(model, result);
    }

    /// The installation is over. A version that is `None` stays.
    pub fn handle_installed(
        &mut self,
        model: &Model,
        tree: &mut Tree,
        result: Result<Option<&str>, FumoResult>,
        now: Timestamp,
    ) {
        match result {
            Ok(version) => {
                if let Some(version) = version {
                    // The leaf is part of every model's tree.
                    let _ = tree.set(dm_objects::dev_detail::FW_V, version.as_bytes(), now);
                }
                self.step(model, tree, FumoEvent::Updated, now);
                self.report(model, FumoResult::Success);
            }
            Err(result) => {
                self.step(model, tree, FumoEvent::UpdateFailed { keeps_package: false }, now);
                self.report(model, result);
            }
        }
    }

    fn step(&mut self, model: &Model, tree: &mut Tree, event: FumoEvent, now: Timestamp) {
        if let Some(next) = self.state.after(event) {
            self.enter(model, tree, next, now);
        }
    }

    fn enter(&mut self, model: &Model, tree: &mut Tree, state: FumoState, now: Timestamp) {
        self.state = state;
        // The leaf is part of every model's tree.
        let _ = tree.set(&format!("{}/State", model.fumo_root), state.code().to_string().as_bytes(), now);
    }

    /// Queues the report on the order, which has ended.
    fn report(&mut self, model: &Model, result: FumoResult) {
        let Some(order) = self.order.take() else { return };
        let source = if model.reports_from_operation {
            format!("./{}/{}", model.fumo_root, order.operation.node())
        } else {
            format!("./{}", model.fumo_root)
        };
        self.alerts.push(PendingAlert {
            correlator: order.correlator.filter(|_| !model.forgets_correlator),
            source,
            type_: order.operation.alert_type(),
            code: result.code(),
        });
    }

    /// What an order is counted and its fate is drawn by. SyncML 1.1 has no Correlator: there an Exec that comes while
    /// nothing runs begins another order, and one that comes while something runs is that order once more.
    fn name<'a>(&mut self, correlator: Option<&'a str>) -> Cow<'a, str> {
        if let Some(correlator) = correlator.filter(|correlator| !correlator.is_empty()) {
            return correlator.into();
        }
        if self.order.is_none() {
            self.unnamed = self.unnamed.saturating_add(1);
        }
        format!("#{}", self.unnamed).into()
    }

    fn count(&mut self, correlator: &str, operation: Operation) {
        let same = |count: &ExecCount| *count.correlator == *correlator && count.operation == operation;
        self.latest = self.execs.iter().position(same);
        if let Some(count) = self.latest.and_then(|at| self.execs.get_mut(at)) {
            count.times += 1;
        } else if self.execs.len() < EXECS_MAX {
            self.latest = Some(self.execs.len());
            self.execs.push(ExecCount { correlator: correlator.into(), operation, times: 1 });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::CATALOGUE;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn device(index: usize) -> (Fumo, &'static Model, Tree) {
        let model = &CATALOGUE[index];
        (Fumo::default(), model, model.tree("s", "http://dm.example/dm", NOW).unwrap())
    }

    fn set_url(tree: &mut Tree, model: &Model, operation: Operation) {
        let uri = format!("{}/{}/PkgURL", model.fumo_root, operation.node());
        tree.set(&uri, b"http://fw.example/x", NOW).unwrap();
    }

    fn exec(fumo: &mut Fumo, model: &Model, tree: &mut Tree, operation: Operation) -> u16 {
        let uri = format!("{}/{}", model.fumo_root, operation.node());
        fumo.handle_exec(model, tree, &uri, Some("c-1"), |_| Fate::default(), NOW).0
    }

    #[test]
    fn without_a_correlator_an_exec_is_the_order_that_runs_or_a_new_one() {
        let (mut fumo, model, mut tree) = device(0);
        set_url(&mut tree, model, Operation::DownloadAndUpdate);
        let uri = format!("{}/DownloadAndUpdate", model.fumo_root);
        let exec = |fumo: &mut Fumo, tree: &mut Tree| {
            fumo.handle_exec(model, tree, &uri, None, |_| Fate::default(), NOW).0
        };
        assert_eq!(exec(&mut fumo, &mut tree), 202);
        assert_eq!(exec(&mut fumo, &mut tree), 405, "it runs");
        assert_eq!(fumo.latest_exec().map(|count| count.times), Some(2), "the same order twice");
        fumo.handle_downloaded(model, &mut tree, NOW);
        fumo.handle_installed(model, &mut tree, Ok(Some("2.0")), NOW);
        assert_eq!(exec(&mut fumo, &mut tree), 202);
        assert_eq!(fumo.latest_exec().map(|count| count.times), Some(1), "another order");
    }

    #[test]
    fn an_update_goes_through_its_states_and_is_reported_until_acknowledged() {
        let (mut fumo, model, mut tree) = device(0);
        assert_eq!(exec(&mut fumo, model, &mut tree, Operation::DownloadAndUpdate), 405, "no address yet");
        set_url(&mut tree, model, Operation::DownloadAndUpdate);
        assert_eq!(exec(&mut fumo, model, &mut tree, Operation::DownloadAndUpdate), 202);
        assert_eq!(tree.text("FUMO/State"), Some("30"));
        assert!(fumo.handle_downloaded(model, &mut tree, NOW));
        assert_eq!(tree.text("FUMO/State"), Some("60"));
        fumo.handle_installed(model, &mut tree, Ok(Some("2.0")), NOW);
        assert_eq!((tree.text("FUMO/State"), tree.text("DevDetail/FwV")), (Some("100"), Some("2.0")));
        let [alert] = fumo.alerts() else { panic!("{:?}", fumo.alerts()) };
        assert_eq!(
            (alert.code, alert.source.as_str(), alert.correlator.as_deref()),
            (200, "./FUMO", Some("c-1"))
        );
        fumo.handle_acknowledged(&[0]);
        assert!(fumo.alerts().is_empty() && fumo.order().is_none());
    }

    #[test]
    fn a_second_exec_is_refused_and_counted() {
        let (mut fumo, model, mut tree) = device(0);
        set_url(&mut tree, model, Operation::DownloadAndUpdate);
        assert_eq!(exec(&mut fumo, model, &mut tree, Operation::DownloadAndUpdate), 202);
        assert_eq!(exec(&mut fumo, model, &mut tree, Operation::DownloadAndUpdate), 405);
        assert_eq!(fumo.execs()[0].times, 2);
    }

    #[test]
    fn download_and_update_apart_report_apart() {
        let (mut fumo, model, mut tree) = device(2);
        assert_eq!(exec(&mut fumo, model, &mut tree, Operation::Update), 405, "nothing to install");
        set_url(&mut tree, model, Operation::Download);
        assert_eq!(exec(&mut fumo, model, &mut tree, Operation::Download), 202);
        assert!(!fumo.handle_downloaded(model, &mut tree, NOW), "Update has its own Exec");
        assert_eq!(fumo.alerts()[0].type_, Operation::Download.alert_type());
        assert_eq!(exec(&mut fumo, model, &mut tree, Operation::Update), 202);
        fumo.handle_installed(model, &mut tree, Err(FumoResult::UpdateFailed), NOW);
        let codes: Vec<_> = fumo.alerts().iter().map(|alert| alert.code).collect();
        assert_eq!((codes, fumo.state()), (vec![200, 410], FumoState::UpdateFailedNoData));
    }

    #[test]
    fn a_failed_download_ends_the_order() {
        let (mut fumo, model, mut tree) = device(0);
        set_url(&mut tree, model, Operation::DownloadAndUpdate);
        exec(&mut fumo, model, &mut tree, Operation::DownloadAndUpdate);
        fumo.handle_download_failed(model, &mut tree, FumoResult::BadUrl, NOW);
        assert_eq!((fumo.state(), fumo.alerts()[0].code), (FumoState::DownloadFailed, 411));
        assert_eq!(
            exec(&mut fumo, model, &mut tree, Operation::DownloadAndUpdate),
            202,
            "and can begin anew"
        );
    }

    #[test]
    fn a_fate_belongs_to_its_attempt() {
        let plan = FaultPlan { failing: 0.5, ..FaultPlan::default() };
        let fate = |correlator: &str| Fate::draw(1, 7, correlator, &plan).fails.is_some();
        assert_eq!(fate("c1-7-1"), fate("c1-7-1"));
        let failed = (0..1_000).filter(|attempt| fate(&format!("c1-7-{attempt}"))).count();
        assert!((430..570).contains(&failed), "{failed} of 1,000 at 50 %");
        let silent = FaultPlan { silent: 1.0, ..FaultPlan::default() };
        assert!(Fate::draw(1, 7, "c", &silent).silent);
    }
}
