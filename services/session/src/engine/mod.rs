//! One step of a session: load, decide, write effects, compare-and-set, answer.
//!
//! The step is plain code over storage traits; it knows nothing of HTTP. It holds nothing between two messages, so
//! any front-end can take any message. When another step wrote first, it begins again from what is stored then.

mod campaigns;
mod effects;
mod planning;
mod record;
mod settings;

use std::{future::Future, sync::Arc, time::Duration};

use campaign::{Phase, View};
use dm_protocol::{
    Account, ClientAuth, DevId, Nonces,
    server::{Event, Guess, Handled, Input, OpenError, ServerSession},
};
use jiff::Timestamp;
use service_kit::{
    client::ClientAddress,
    metrics::{AuthReason, MessageResult, SessionMetrics},
    settings::Enrol,
};
use storage::{
    Device, ErrorKind, Inventory, Revision, SessionKey, StoreError, TenantId, Versioned,
    limits::{Claim, LimitKey, Limiter, Logins, Rate, Refused, Scope, Standing, Whose},
    trace::{self, Kind, Late, Span, Traceparent},
};
use syncml::{Encoding, Message, StatusCode};

use self::{
    campaigns::Campaigns,
    effects::Effects,
    planning::{Dialects, Work},
    record::{HeldJob, Opened, Plan},
};
use crate::Stores;

pub use settings::EngineSettings;

/// Steps that are begun again because another wrote first; two messages of one session never meet more often.
const ROUNDS_MAX: usize = 6;
/// How long whoever moved the job first is given to write the session's record too.
const JOB_MOVED_WAIT: Duration = Duration::from_millis(25);
/// How often a copy of a message looks for the session that the first is about to store. Where there is none, as its
/// front-end has died, the device is challenged.
const COPY_LOOKS: usize = 2;
/// How long a record is kept of a session that is over, or whose device has not proved itself: only to answer a
/// repetition, or the credentials that follow the challenge.
const SHORT_KEEP: Duration = Duration::from_secs(120);

/// Octets of an answer with a few commands, so that its buffer need not grow.
const REPLY_OCTETS_USUAL: usize = 1024;

/// What steps share.
pub struct Engine {
    stores: Stores,
    tenant: TenantId,
    machine: dm_protocol::server::Settings,
    /// For a device that somebody guesses at.
    wary_machine: dm_protocol::server::Settings,
    logins: Logins,
    limiter: Limiter,
    per_device: Option<Rate>,
    key_required: bool,
    dialects: Dialects,
    campaigns: Campaigns,
    metrics: SessionMetrics,
    public_url: Arc<str>,
    enrol: Enrol,
    session_keep: Duration,
    entropy: Entropy,
}

/// Fills a buffer with random octets.
pub type Entropy = Arc<dyn Fn(&mut [u8]) -> Result<(), getrandom::Error> + Send + Sync>;

/// A message to step with.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// When it arrived.
    pub now: Timestamp,
    /// The form it came in.
    pub encoding: Encoding,
    /// The message.
    pub message: &'a Message<'a>,
    /// Its octets.
    pub body: &'a [u8],
    /// Who sent it.
    pub client: ClientAddress,
    /// The session's key, as the address has it that the message was posted to.
    pub key: Option<&'a str>,
}

/// What goes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stepped {
    /// The encoded answer.
    pub body: Vec<u8>,
    /// What became of the message.
    pub result: MessageResult,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The message names no device, or no session.
    #[error("message opens no session")]
    Open(#[from] OpenError),
    /// A store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It belongs to a session that has begun, and did not come to the address that the device was told.
    #[error("expected a message of this session at the address that it was told (RespURI)")]
    Unaddressed,
    /// The device begins more sessions than it may.
    #[error("device begins more sessions than it may, come again in {} s", .0.retry_after_seconds)]
    Limited(Refused),
    /// Others wrote first, again and again.
    #[error("expected to write within {ROUNDS_MAX} rounds, lost the race in each")]
    Contended,
    /// The step's own record cannot be written.
    #[error("session cannot be stored")]
    Record(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The system gives no random octets.
    #[error("could not draw random octets: {0}")]
    Entropy(getrandom::Error),
    /// The process is ending.
    #[error("step was cut off")]
    CutOff,
}

/// How one round went.
enum Round {
    Answered(Stepped),
    /// Someone else wrote first: load again.
    LostRace,
    /// The message's nonce was spent by the same message: load again, its session is about to be there.
    Copy,
    /// The job is not what the session's plan was made for: load again, and plan anew.
    JobMoved,
}

/// What a round decided, to be written and then answered.
struct Decided {
    key: SessionKey,
    expected: Option<Revision>,
    session: ServerSession,
    opened: Opened,
    plan: Option<Plan>,
    device: Option<(Revision, Effects)>,
    reply: Vec<u8>,
    is_new: bool,
    now: Timestamp,
    msg_id: u32,
    /// A wrong credential came from there; `None` is for a device that there is not.
    guessed: Option<(Option<Guess>, ClientAddress)>,
}

impl Engine {
    /// An engine over these stores.
    pub fn new(settings: &EngineSettings, stores: Stores, metrics: SessionMetrics) -> Arc<Self> {
        Self::with_entropy(settings, stores, metrics, Arc::new(getrandom::fill))
    }

    /// The same, with randomness of the caller's. Nonces are drawn from it: it must not be guessed.
    pub fn with_entropy(
        settings: &EngineSettings,
        stores: Stores,
        metrics: SessionMetrics,
        entropy: Entropy,
    ) -> Arc<Self> {
        Arc::new(Self {
            tenant: TenantId::default(),
            machine: settings.machine(),
            wary_machine: dm_protocol::server::Settings { known_nonce_only: true, ..settings.machine() },
            logins: Logins::new(Arc::clone(&stores.limits), settings.logins, metrics.limits.away()),
            limiter: Limiter::new(Arc::clone(&stores.limits), metrics.limits.away()),
            per_device: settings.per_device,
            key_required: settings.key_required,
            dialects: Dialects::new(&settings.dialect),
            campaigns: Campaigns::new(Arc::clone(&stores.campaigns)),
            stores,
            metrics,
            public_url: Arc::clone(&settings.public_url),
            enrol: settings.enrol,
            session_keep: settings.session_keep,
            entropy,
        })
    }

    /// Takes one message and answers it.
    ///
    /// # Errors
    ///
    /// [`StepError`] when there is no answer; then nothing that the device was not told has happened to it, and it
    /// may send the message again.
    pub async fn step(self: &Arc<Self>, received: Received<'_>) -> Result<Stepped, StepError> {
        let (mut plan_anew, mut jobs_moved, mut copies_seen) = (false, 0, 0);
        for _ in 0..ROUNDS_MAX {
            match self.round(received, plan_anew, copies_seen < COPY_LOOKS).await? {
                Round::Answered(stepped) => return Ok(stepped),
                Round::LostRace => {}
                Round::Copy => {
                    tokio::time::sleep(JOB_MOVED_WAIT).await;
                    copies_seen += 1;
                }
                Round::JobMoved => {
                    // Most likely the same message is being handled elsewhere, and its answer is about to be in the
                    // record. To plan anew beside it would give up an Exec that is on its way.
                    tokio::time::sleep(JOB_MOVED_WAIT).await;
                    plan_anew = jobs_moved > 0;
                    jobs_moved += 1;
                }
            }
            self.metrics.conflicts.increment();
        }
        Err(StepError::Contended)
    }

    /// Answers a message of a device that surely is not who it says, as one of a device that nobody knows. Nothing is
    /// loaded or stored: who says so must neither hear what a session of the true device was answered, nor end it.
    ///
    /// # Errors
    ///
    /// [`StepError::Open`] when the message names no device or no session.
    pub fn refuse(&self, received: Received<'_>, reason: AuthReason) -> Result<Stepped, StepError> {
        let mut session = ServerSession::open(received.message, received.encoding)?;
        let mut entropy = [0; 32];
        (self.entropy)(&mut entropy).map_err(StepError::Entropy)?;
        let input = Input {
            now: received.now,
            encoding: received.encoding,
            message: received.message,
            body: received.body,
            account: None,
            dev_info: &[],
            entropy,
        };
        session.handle_message(&self.machine, input);
        self.metrics.auth_failure(scheme_of(received.message), reason);
        while session.poll_event().is_some() {}
        let mut body = Vec::with_capacity(REPLY_OCTETS_USUAL);
        session.write_reply(&self.machine, &mut body);
        Ok(Stepped { body, result: MessageResult::Unauthenticated })
    }

    async fn round(
        self: &Arc<Self>,
        received: Received<'_>,
        plan_anew: bool,
        awaits_copy: bool,
    ) -> Result<Round, StepError> {
        let hdr = &received.message.hdr;
        let key = SessionKey {
            tenant: self.tenant.clone(),
            device: DevId::parse(hdr.source.loc_uri.trim()).map_err(OpenError::DevId)?,
            // Some clients write a hexadecimal number now in one case, now in the other.
            session: hdr.session_id.to_ascii_lowercase().into(),
        };
        // Only a message that can prove the device begins a plan; for the others nobody asks, and a plan that is begun all
        // the same looks for work itself.
        let may_begin = hdr.msg_id == 1 || hdr.cred.is_some();
        let may_have_work = async {
            if may_begin && !plan_anew {
                called("look for work", self.stores.jobs.may_have(&self.tenant, &key.device)).await
            } else {
                Ok(true)
            }
        };
        // Without a credential nobody guesses.
        let has_cred = hdr.cred.is_some();
        let standing = async {
            let asked = has_cred.then(|| self.logins.standing(&self.tenant, &key.device, received.client));
            match asked {
                Some(asked) => Ok(asked.await),
                None => Ok(Standing::default()),
            }
        };
        let (stored, device, may_have_work, standing) = tokio::try_join!(
            called("load session", self.stores.sessions.load(&key)),
            called("load device", self.stores.devices.load(&self.tenant, &key.device)),
            may_have_work,
            standing,
        )?;
        let device = match device {
            None if self.enrol == Enrol::Open => self.enrol(&key.device, received.now).await?,
            device => device,
        };

        let expected = stored.as_ref().map(|stored| stored.revision);
        let restored = stored.and_then(|stored| {
            // Where it cannot be read the device begins anew; its job is in the job's own record.
            record::decode(&stored.value)
                .inspect_err(
                    |error| tracing::error!(device_id = %key.device, %error, "session record dropped"),
                )
                .ok()
        });
        let (mut session, opened, mut plan) = match restored {
            Some(parts) => parts,
            None => (ServerSession::open(received.message, received.encoding)?, None, None),
        };

        let mut entropy = [0; 32];
        (self.entropy)(&mut entropy).map_err(StepError::Entropy)?;
        let dev_info = device.as_ref().map(|device| effects::known_dev_info(&device.value));
        let is_of_begun = plan.is_some() && hdr.msg_id != 1;
        let has_password =
            device.as_ref().is_some_and(|device| device.value.account.client != ClientAuth::None);
        if self.key_required
            && is_of_begun
            && has_password
            && !session.is_keyed(&self.machine, received.message, received.key)
        {
            return Err(StepError::Unaddressed);
        }
        let machine = if standing.is_locked { &self.wary_machine } else { &self.machine };
        let was_proved = plan.is_some();
        let handled = session.handle_message(
            machine,
            Input {
                now: received.now,
                encoding: received.encoding,
                message: received.message,
                body: received.body,
                account: device.as_ref().map(|device| &device.value.account),
                dev_info: dev_info.as_ref().map_or(&[], <[_; 5]>::as_slice),
                entropy,
            },
        );
        let is_new = expected.is_none() || handled == Handled::Restarted;
        // Of a session that an earlier release began, this message is the beginning that is known.
        let opened = opened.filter(|_| !is_new).unwrap_or_else(|| Opened::begin(received.now));
        let late = trace::late();
        if let Some(late) = &late {
            late.belongs_to(opened.trace());
        }
        if handled == Handled::Repeated {
            let mut body = Vec::with_capacity(REPLY_OCTETS_USUAL);
            session.write_reply(&self.machine, &mut body);
            return Ok(Round::Answered(Stepped { body, result: MessageResult::Repeated }));
        }
        if awaits_copy && session.has_spent_nonce() {
            return Ok(Round::Copy);
        }
        if handled == Handled::Restarted {
            plan = None;
        }

        let (now, msg_id) = (received.now, hdr.msg_id);
        let Some(Versioned { value: device, revision }) = device else {
            self.metrics.auth_failure(scheme_of(received.message), AuthReason::Unknown);
            let mut reply = Vec::with_capacity(REPLY_OCTETS_USUAL);
            while session.poll_event().is_some() {}
            session.write_reply(&self.machine, &mut reply);
            while session.poll_event().is_some() {}
            // Guessing at names is guessing too.
            let guessed = has_cred.then_some((None, received.client));
            let (plan, device) = (None, None);
            let decided =
                Decided { key, expected, session, opened, plan, device, reply, is_new, now, msg_id, guessed };
            return self.write(decided).await;
        };

        let mut step = Step {
            engine: self,
            now: received.now,
            effects: Effects::new(device, received.now),
            may_have_work,
            work: None,
            plan,
            late,
        };
        if !step.resume(plan_anew).await? {
            return Ok(Round::JobMoved);
        }
        let mut reply = Vec::with_capacity(REPLY_OCTETS_USUAL);
        step.drain(&mut session).await?;
        session.write_reply(&self.machine, &mut reply);
        step.drain(&mut session).await?;
        if !step.may_exec_leave().await? {
            return Ok(Round::JobMoved);
        }
        let Step { plan, effects, .. } = step;
        if plan.is_none() {
            let reason = match (has_cred, standing.is_locked) {
                (false, _) => AuthReason::Missing,
                (true, false) => AuthReason::Wrong,
                (true, true) => AuthReason::Locked,
            };
            self.metrics.auth_failure(scheme_of(received.message), reason);
        } else if has_cred && !was_proved {
            self.logins.succeeded(standing, &self.tenant, &key.device, received.client).await;
        }
        let guess = session.wrong_guess().filter(|_| !standing.is_locked);
        let guessed = guess.map(|guess| (Some(guess), received.client));
        let device = Some((revision, effects));
        let decided =
            Decided { key, expected, session, opened, plan, device, reply, is_new, now, msg_id, guessed };
        self.write(decided).await
    }

    /// A device that has proved itself begins a session. Nobody else can use up what it may begin.
    async fn admit_session(&self, device: &Device) -> Result<(), StepError> {
        let Some(rate) = self.per_device else { return Ok(()) };
        let key = LimitKey::new(&self.tenant, Scope::Device, device.id.as_str());
        self.limiter.admit(&key, rate, Claim::Begun).await.map_err(StepError::Limited)
    }

    /// Adds a device that nobody has added, without credentials. Someone may have added it in between.
    async fn enrol(&self, id: &DevId, now: Timestamp) -> Result<Option<Versioned<Device>>, StoreError> {
        let account = Account { client: ClientAuth::None, server: None, nonces: Nonces::default() };
        let device = Device {
            id: id.clone(),
            ordinal: 0,
            account,
            tags: Default::default(),
            added: now,
            last_seen: None,
            inventory: Inventory::default(),
            fumo_root: None,
            dev_detail_read: None,
            notify_address: None,
        };
        let added = self.stores.devices.add(&self.tenant, &[device]).await?;
        if added.iter().any(Option::is_some) {
            tracing::info!(device_id = %id, "device enrolled");
            self.metrics.enrolled.increment();
        }
        self.stores.devices.load(&self.tenant, id).await
    }

    /// Writes what was decided, in the order that makes a stop at any point harmless, and answers.
    async fn write(self: &Arc<Self>, mut decided: Decided) -> Result<Round, StepError> {
        if let Some((guess, client)) = decided.guessed {
            // Before the answer leaves, so that who waits for it before the next guess is counted whole.
            let whose = match guess {
                Some(Guess::Password) => Whose::Device(&decided.key.device),
                Some(Guess::FirstContact) => Whose::NewDevice(&decided.key.device),
                None => Whose::Nobody,
            };
            self.logins.failed(&self.tenant, whose, client).await;
        }
        let has_job_events = decided.device.as_ref().is_some_and(|(_, effects)| !effects.events.is_empty());
        if !has_job_events {
            return self.write_all(&mut decided).await;
        }
        // An Exec that was recorded and whose answer then is not written is an attempt lost. A device that hangs up
        // must not cause that, so these writes do not depend on its connection.
        let engine = Arc::clone(self);
        // From here on it goes through other processes; the trace tells which of their doings were about this message.
        let session = trace::late().filter(|late| late.parent().is_some());
        let trace = trace::current().or_else(Traceparent::draw);
        if let Some(trace) = trace {
            tracing::debug!(device_id = %decided.key.device, session_id = %decided.key.session, %trace, "job moves");
        }
        let write = async move { engine.write_all(&mut decided).await };
        let writing = match session {
            Some(late) => tokio::spawn(async move { late.run(write).await }),
            None => tokio::spawn(trace::within(trace, write)),
        };
        writing.await.map_err(|_| StepError::CutOff)?
    }

    async fn write_all(&self, decided: &mut Decided) -> Result<Round, StepError> {
        if let Some((revision, effects)) = &decided.device
            && effects.is_visit_only()
        {
            // At the same time, as nothing in the answer depends on when the device was seen. Where either is lost the
            // message is taken again: the session's record, if it was written, answers it, and the time of a visit is
            // lost, which the next one mends. Nonces are another matter: a record that has spent a nonce would answer
            // though the device's record still takes it, and a replayed digest would pass. So they go first, alone.
            let (device, session) =
                tokio::join!(self.put_device(*revision, effects), self.put_session(decided));
            let device = won(device)?;
            return if session? && device { Ok(self.answered(decided)) } else { Ok(Round::LostRace) };
        }
        if let Some((revision, effects)) = &mut decided.device {
            // The tree first: what the inventory has already is not written to the tree again.
            self.apply_delta(effects).await?;
            if !won(self.put_device(*revision, effects).await)? {
                return Ok(Round::LostRace);
            }
            if !won(self.update_job(&mut decided.plan, effects).await)? {
                return Ok(Round::JobMoved);
            }
        }
        if !self.put_session(decided).await? {
            return Ok(Round::LostRace);
        }
        Ok(self.answered(decided))
    }

    /// Writes the session's record; false when another wrote first.
    async fn put_session(&self, decided: &Decided) -> Result<bool, StepError> {
        let Decided { key, expected, session, opened, plan, .. } = decided;
        let record = record::encode(session, opened, plan.as_ref())
            .map_err(|error| StepError::Record(Box::new(error)))?;
        let is_short = session.is_over() || plan.is_none();
        let keep = if is_short { self.session_keep.min(SHORT_KEEP) } else { self.session_keep };
        Ok(won(called("put session", self.stores.sessions.put(key, *expected, &record, keep)).await)?)
    }

    /// All is written: the answer may leave.
    fn answered(&self, decided: &mut Decided) -> Round {
        if decided.is_new {
            self.metrics.sessions_started.increment();
        }
        if decided.session.is_over() {
            self.metrics.sessions_ended.increment();
            let begun = decided.opened.begun();
            // Front-ends' clocks differ a little.
            let span = Duration::try_from(decided.now.duration_since(begun)).unwrap_or_default();
            self.metrics.session_seconds(span);
            if let Some(late) = trace::late() {
                let facts = vec![
                    ("dm.session.messages", decided.msg_id.into()),
                    ("dm.session.authenticated", decided.plan.is_some().into()),
                ];
                late.ends_session("session", begun.into(), facts);
            }
        }
        let result = if decided.plan.is_some() { MessageResult::Ok } else { MessageResult::Unauthenticated };
        Round::Answered(Stepped { body: std::mem::take(&mut decided.reply), result })
    }

    async fn put_device(&self, revision: Revision, effects: &Effects) -> Result<(), StoreError> {
        if effects.has_device() {
            called("put device", self.stores.devices.put(&self.tenant, revision, &effects.device)).await?;
        }
        Ok(())
    }

    async fn apply_delta(&self, effects: &Effects) -> Result<(), StoreError> {
        if !effects.delta.is_empty() {
            let Effects { device, delta, .. } = effects;
            let apply = self.stores.snapshots.apply(&self.tenant, &device.id, effects.now, delta);
            called("apply tree", apply).await?;
        }
        Ok(())
    }

    /// Writes the job with its events; the plan then holds the job's new revision, or no job when it has ended.
    async fn update_job(&self, plan: &mut Option<Plan>, effects: &Effects) -> Result<(), StoreError> {
        let Some(held) = plan.as_mut().and_then(|plan| plan.job.as_mut()) else { return Ok(()) };
        if effects.events.is_empty() {
            return Ok(());
        }
        let job = (!effects.job_ended).then_some(&held.job);
        let (campaign, events) = (held.job.campaign, &effects.events);
        let jobs = &self.stores.jobs;
        let update = jobs.update(&self.tenant, &effects.device.id, campaign, held.revision, job, events);
        let written = called("update job", update).await?;
        match written {
            Some(revision) => held.revision = revision,
            None => {
                if let Some(plan) = plan {
                    plan.job = None;
                }
            }
        }
        Ok(())
    }
}

/// A call to a store, as a part of the message's trace.
async fn called<T>(
    name: &'static str,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    if !trace::is_on() {
        return work.await;
    }
    let mut span = Span::child(name, Kind::Client);
    let result = span.run(work).await;
    match &result {
        // Somebody was faster, which is no failure.
        Err(error) if error.kind == ErrorKind::Conflict => span.set("dm.conflict", || true),
        Err(error) => span.fail(error),
        Ok(_) => {}
    }
    result
}

/// A conflict is a lost race; any other failure is one.
fn won<T>(result: Result<T, StoreError>) -> Result<bool, StoreError> {
    match result {
        Ok(_) => Ok(true),
        Err(error) if error.kind == ErrorKind::Conflict => Ok(false),
        Err(error) => Err(error),
    }
}

/// The scheme of the message's credentials as a metric's label.
fn scheme_of(message: &Message<'_>) -> &'static str {
    let Some(cred) = &message.hdr.cred else { return "none" };
    let type_ = cred.meta.as_ref().and_then(|meta| meta.type_.as_deref());
    match type_.map_or(Some(dm_protocol::Scheme::Basic), dm_protocol::Scheme::parse) {
        Some(dm_protocol::Scheme::Basic) => "basic",
        Some(dm_protocol::Scheme::Md5) => "md5",
        None => "none",
    }
}

/// One message on its way through a session and its plan.
struct Step<'e> {
    engine: &'e Engine,
    now: Timestamp,
    effects: Effects,
    /// False: there is surely no job to look for.
    may_have_work: bool,
    work: Option<Work>,
    plan: Option<Plan>,
    /// The message, where traces are kept.
    late: Option<Late>,
}

impl Step<'_> {
    /// Finds the campaign of the job that the stored plan works on. False when the plan does not hold any more.
    async fn resume(&mut self, plan_anew: bool) -> Result<bool, StoreError> {
        let Some(plan) = &self.plan else { return Ok(true) };
        if plan_anew {
            self.begin().await?;
            return Ok(true);
        }
        let Some(held) = plan.job.clone() else { return Ok(true) };
        let Some(view) = self.engine.view(&held.job).await? else { return Ok(false) };
        self.work = Some(Work { held, view });
        Ok(true)
    }

    /// Plans a session whose device has proved itself, now or earlier.
    async fn begin(&mut self) -> Result<(), StoreError> {
        if self.may_have_work {
            self.work = called("load jobs", self.engine.next_work(&self.effects.device)).await?;
            self.take_up().await;
        }
        let mut plan = self.engine.plan(&self.effects.device, self.now, self.work.as_ref());
        plan.agenda.handle_event(&Event::Authenticated);
        self.plan = Some(plan);
        if let (Some(plan), Some(work)) = (&mut self.plan, &self.work)
            && let Some(held) = &mut plan.job
        {
            debug_assert_eq!(*held, work.held);
            let transition = held.job.arrive(&self.effects.device.id, self.now);
            self.effects.moved(transition, held);
        }
        Ok(())
    }

    /// Says how long the job has waited, and which trace it comes from.
    async fn take_up(&self) {
        let Some(Work { held: HeldJob { job, .. }, .. }) = &self.work else { return };
        if job.phase == Phase::Waiting {
            let waited = Duration::try_from(self.now.duration_since(job.since)).unwrap_or_default();
            self.engine.metrics.job_waited(waited);
        }
        let Some(late) = self.late.as_ref().filter(|late| late.parent().is_some()) else { return };
        late.set("dm.campaign.id", job.campaign.to_string());
        late.set("dm.job.attempt", job.attempt);
        late.set("dm.device.ordinal", job.ordinal);
        let jobs = &self.engine.stores.jobs;
        let cause = jobs.cause(&self.engine.tenant, &self.effects.device.id, job.campaign, job.attempt);
        match called("load cause of job", cause).await {
            Ok(Some(cause)) => late.link(cause),
            Ok(None) => {}
            // The visit goes on without it.
            Err(error) => late.set("dm.job.cause", error.to_string()),
        }
    }

    /// Carries events to the plan and commands to the session until neither has any left.
    async fn drain(&mut self, session: &mut ServerSession) -> Result<(), StepError> {
        while let Some(event) = session.poll_event() {
            self.handle_event(session, event).await?;
        }
        if let Some(plan) = &mut self.plan {
            let view: Option<&View> = self.work.as_ref().map(|work| &*work.view);
            while let Some(fact) = plan.agenda.poll_fact() {
                self.effects.fact(fact, plan.job.as_mut().zip(view));
            }
        }
        Ok(())
    }

    async fn handle_event(&mut self, session: &mut ServerSession, event: Event) -> Result<(), StepError> {
        match event {
            Event::Authenticated => {
                self.effects.seen();
                if self.plan.is_none() {
                    self.engine.admit_session(&self.effects.device).await?;
                    self.begin().await?;
                }
            }
            Event::NoncesChanged { nonces, server_scheme } => self.effects.nonces(nonces, server_scheme),
            Event::WantsChunk { digest, offset, len } => {
                let artifacts = &self.engine.stores.artifacts;
                let chunk = artifacts.read(&self.engine.tenant, &digest, offset, len).await?;
                session.supply_chunk(&chunk);
            }
            event => {
                let Some(plan) = &mut self.plan else { return Ok(()) };
                plan.agenda.handle_event(&event);
                if event == Event::WantsCommands {
                    hand_over(plan, session);
                }
            }
        }
        Ok(())
    }

    /// Asked right before the answer with an Exec becomes durable: a campaign that was paused since the session
    /// began gives no more work.
    async fn may_exec_leave(&self) -> Result<bool, StoreError> {
        match &self.work {
            Some(work) if self.effects.exec_leaves => Ok(self.engine.view(&work.held.job).await?.is_some()),
            _ => Ok(true),
        }
    }
}

fn hand_over(plan: &mut Plan, session: &mut ServerSession) {
    while let Some((tag, draft)) = plan.agenda.poll_command() {
        if let Err(error) = session.enqueue(tag, draft) {
            tracing::warn!(device_id = %session.device(), %error, "command not taken");
            // The plan would wait for its outcome for ever.
            let code = StatusCode::COMMAND_FAILED;
            plan.agenda.handle_event(&Event::Status { tag, target: None, code, items: Vec::new() });
        }
    }
}
