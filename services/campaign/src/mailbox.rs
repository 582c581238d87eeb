//! Asking the owner of a campaign, wherever it is.

use std::time::Duration;

use campaign::CampaignId;
use futures_util::future::join_all;
use jiff::Timestamp;
use storage::RequestId;
use tokio::{sync::oneshot, time::Instant};

use crate::{
    CampaignService, Process, ServiceError,
    ask::{Answer, Ask, Expected, Request, decode, encode},
    owner::Command,
    service::{Handle, Inner, decode_state},
};

/// How long who asks waits for the answer.
const WAIT: Duration = Duration::from_secs(10);
/// How long from the asking on something may still be done.
const KEEP: Duration = Duration::from_secs(60);
/// How often an owner looks into its mailbox.
const POLL_EVERY: Duration = Duration::from_millis(500);
/// How often who asks looks for the answer.
const ANSWER_EVERY: Duration = Duration::from_millis(100);
/// Looks for an answer between looks at the campaign itself, which may have come to its end meanwhile.
const RECORD_EVERY: u32 = 10;

impl CampaignService {
    /// Has the campaign's owner record something, in this process or another.
    pub(crate) async fn ask(&self, id: CampaignId, ask: Ask) -> Result<(), ServiceError> {
        let deadline = Instant::now() + WAIT;
        let mut after = None;
        if let Some(handle) = self.handle(id) {
            if let Some(live) = handle.live() {
                after = Some(live.read().1);
            }
            match tokio::time::timeout_at(deadline, tell(&handle, ask.clone(), after)).await {
                // It has let go of the campaign, or the campaign is over.
                Ok(None) => {}
                Ok(Some(answer)) => return answer,
                Err(_) => return Err(no_answer(id)),
            }
        }
        let stored = decode_state(&self.load_light(id).await?.value)?;
        match ask.settled(id, &stored.run) {
            // A checkpoint may be older than what it is asked about, so only an end is an answer.
            Some(answer) if stored.run.is_over() || stored.start.is_none() => answer,
            _ => self.ask_elsewhere(id, ask, after.unwrap_or(stored.offset), deadline).await,
        }
    }

    async fn ask_elsewhere(
        &self,
        campaign: CampaignId,
        ask: Ask,
        after: u64,
        deadline: Instant,
    ) -> Result<(), ServiceError> {
        let Inner { stores, tenant, process: Process { clock, .. }, .. } = &*self.0;
        let now = clock();
        let id = self.draw_request_id(now);
        let until_ms =
            now.as_millisecond().saturating_add(i64::try_from(KEEP.as_millis()).unwrap_or(i64::MAX));
        let request = Request { ask, after, until_ms };
        stores.requests.ask(tenant, campaign, id, &encode(&request)).await?;
        let mut looks = 0;
        while Instant::now() < deadline {
            // A store that fails for a moment changes nothing about the answer.
            let answer = stores.requests.answered(tenant, campaign, id).await.ok().flatten();
            if let Some(answer) = answer.and_then(|answer| decode::<Answer>(&answer)) {
                let _ = stores.requests.forget(tenant, campaign, id).await;
                return answer.into_result(campaign);
            }
            looks += 1;
            if looks % RECORD_EVERY == 0
                && let Ok(record) = self.load_light(campaign).await
                && let run = decode_state(&record.value)?.run
                && run.is_over()
                && let Some(answer) = request.ask.settled(campaign, &run)
            {
                let _ = stores.requests.forget(tenant, campaign, id).await;
                return answer;
            }
            tokio::time::sleep(ANSWER_EVERY).await;
        }
        Err(no_answer(campaign))
    }

    fn draw_request_id(&self, now: Timestamp) -> RequestId {
        let mut octets = [0; 16];
        (self.0.process.entropy)(&mut octets[6..]);
        octets[..6].copy_from_slice(&now.as_millisecond().to_be_bytes()[2..]);
        RequestId(octets)
    }

    /// Takes what others ask of the owners in this process, and answers it, until shutdown.
    pub(crate) async fn serve_mailboxes(&self) {
        loop {
            let owned: Vec<(CampaignId, Handle)> =
                self.owners().iter().map(|(id, handle)| (*id, handle.clone())).collect();
            let served = owned.iter().filter(|(_, handle)| handle.live().is_some());
            join_all(served.map(|(id, handle)| self.serve_mailbox(*id, handle))).await;
            tokio::select! {
                biased;
                () = self.0.shutdown.cancelled() => return,
                () = tokio::time::sleep(POLL_EVERY) => {}
            }
        }
    }

    async fn serve_mailbox(&self, campaign: CampaignId, handle: &Handle) {
        let Inner { stores, tenant, .. } = &*self.0;
        let asked = match stores.requests.asked(tenant, campaign).await {
            Ok(asked) => asked,
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "could not read requests");
                return;
            }
        };
        for (id, request) in asked {
            let Some(answer) = self.answer_to(handle, &request).await else { return };
            if let Err(error) = stores.requests.answer(tenant, campaign, id, &encode(&answer)).await {
                // It is asked again, and the ledger says that it was done.
                tracing::warn!(error = &error as &dyn std::error::Error, "could not answer a request");
                return;
            }
        }
    }

    /// `None`: it cannot be done now, and is asked again.
    async fn answer_to(&self, handle: &Handle, request: &[u8]) -> Option<Answer> {
        let Some(request) = decode::<Request>(request) else {
            // Another version of this program wrote it: that one will not understand our answer either.
            tracing::error!("request cannot be read");
            return Some(Answer::TooLate);
        };
        if request.is_late((self.0.process.clock)()) {
            return Some(Answer::TooLate);
        }
        let told = tell(handle, request.ask, Some(request.after));
        match tokio::time::timeout(WAIT, told).await.ok()?? {
            Ok(()) => Some(Answer::Done),
            Err(ServiceError::WrongState { expected, found, .. }) => {
                Some(Answer::WrongState { expected: Expected::of_text(expected), found: found.into() })
            }
            Err(_) => None,
        }
    }
}

/// Asks an owner in this process; `None`: it has ended.
async fn tell(handle: &Handle, ask: Ask, after: Option<u64>) -> Option<Result<(), ServiceError>> {
    let (reply, answer) = oneshot::channel();
    handle.commands.send(Command { ask, after, reply }).await.ok()?;
    answer.await.ok()
}

fn no_answer(campaign: CampaignId) -> ServiceError {
    ServiceError::NoAnswer { campaign, waited_s: WAIT.as_secs(), kept_s: KEEP.as_secs() }
}
