//! The devices, the links to the front-ends, and what a front-end makes of a message.

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use dm_protocol::{Account, ClientAuth, DevId, Nonces, Scheme, ServerAuth, auth};
use dm_sim::{Action, Auth, Chance, Delivery, DeviceIdentity, Head, Link, LinkFaults, SimDevice};
use service_kit::{client::ClientAddress, metrics::MessageResult};
use session_service::{Engine, Received, StepError, Stepped};
use sha2::{Digest as _, Sha256};
use storage::{Device, ErrorKind, Inventory};
use syncml::{Command, Encoding, StatusCode};
use tokio::time::Instant;

use crate::{
    Sim,
    gate::{Gate, lock},
    world::now,
};

/// A front-end in this life.
#[derive(Clone)]
pub struct Front {
    pub engine: Arc<Engine>,
    pub gate: Arc<Gate>,
}

/// So long the last message of a session that is over is answered from memory.
const REPEAT_WINDOW: Duration = Duration::from_secs(10);

/// What a device hears: an HTTP status and a body, or nothing.
type Heard = Option<(u16, Vec<u8>)>;

/// The account of a simulated device, as an operator would add it.
pub fn record(identity: &DeviceIdentity, ordinal: u32, added: jiff::Timestamp) -> Device {
    let scheme = if identity.auth == Auth::Md5 { Scheme::Md5 } else { Scheme::Basic };
    let client = match identity.auth {
        Auth::None => ClientAuth::None,
        Auth::Basic | Auth::Md5 => ClientAuth::Password {
            scheme,
            user: identity.user.clone(),
            digest: auth::user_digest(&identity.user, &identity.password),
        },
    };
    let server = (identity.auth != Auth::None).then(|| ServerAuth {
        server_id: identity.server_id.clone(),
        password: identity.server_password.clone(),
        scheme,
    });
    Device {
        id: DevId::parse(&identity.id).unwrap(),
        ordinal,
        account: Account { client, server, nonces: Nonces::default() },
        tags: Default::default(),
        added,
        last_seen: None,
        inventory: Inventory {
            maker: identity.maker.into(),
            model: identity.model.into(),
            firmware: "1.0".into(),
            ..Inventory::default()
        },
        fumo_root: None,
        dev_detail_read: None,
        notify_address: None,
    }
}

/// Steps a message at a front-end, which may die over it.
async fn step(sim: &Sim, front: &Front, encoding: Encoding, body: &[u8]) -> Result<Option<Stepped>, u16> {
    let Ok(message) = syncml::decode(encoding, body, &Default::default()) else { return Err(400) };
    let received = Received {
        now: now(sim.begun),
        encoding,
        message: &message,
        body,
        client: ClientAddress::of([127, 0, 0, 1].into()),
        key: None,
    };
    let stepped = tokio::select! {
        biased;
        () = front.gate.death() => return Ok(None),
        stepped = tokio::time::timeout(Duration::from_secs(30), front.engine.step(received)) => stepped,
    };
    match stepped {
        Ok(Ok(stepped)) => Ok(Some(stepped)),
        Ok(Err(StepError::Open(_))) => Err(400),
        Ok(Err(StepError::Store(error))) if error.kind == ErrorKind::Corrupt => Err(500),
        Ok(Err(StepError::Record(_))) => Err(500),
        Ok(Err(_)) | Err(_) => Err(503),
    }
}

/// One device's life.
pub async fn live(sim: Arc<Sim>, device: Arc<Mutex<SimDevice>>, number: u32) {
    let mut chance = Chance::new(sim.seed, u64::from(number), "way");
    let faults = LinkFaults { request_lost: 0.04, reply_lost: 0.06, repeated: 0.06, late: 0.04 };
    let mut link = Link::new(sim.seed, u64::from(number), faults);
    let mut is_healed = false;
    loop {
        if !is_healed && sim.is_fair.load(Ordering::SeqCst) {
            link.heal();
            is_healed = true;
        }
        let own = || device.lock().unwrap_or_else(PoisonError::into_inner);
        let action = own().next_action(now(sim.begun));
        match action {
            Action::Gone => return,
            Action::Wait { until } => {
                let wait = until.duration_since(now(sim.begun));
                let wait = Duration::try_from(wait).unwrap_or_default();
                tokio::time::sleep(wait.max(Duration::from_millis(1))).await;
            }
            Action::Post { cut: true, .. } => own().handle_broken(now(sim.begun)),
            Action::Post { content_type, body, .. } => {
                let encoding = Encoding::of(Some(content_type), &body).unwrap();
                let heard = post(&sim, &mut link, &mut chance, encoding, &body).await;
                let (status, body) =
                    heard.as_ref().map_or((0, &[][..]), |(status, body)| (*status, &body[..]));
                let digest = u32::from_be_bytes(Sha256::digest(body)[..4].try_into().unwrap());
                lock(&sim.world)
                    .note(&format!("#{number} hears {status}: {} octets, {digest:08x}", body.len()));
                let now = now(sim.begun);
                match heard {
                    Some((status, body)) => own().handle_reply(now, status, None, &body),
                    None => own().handle_broken(now),
                }
            }
            Action::Download { offset, cut_after, .. } => {
                tokio::time::sleep(Duration::from_millis(20 + chance.below(200))).await;
                let (meta, content) = lock(&sim.world).artifact.clone();
                let rest = &content[content.len().min(offset as usize)..];
                let sent = cut_after.map_or(rest.len(), |cut| rest.len().min(cut as usize));
                let mut device = own();
                device.handle_head(&Head {
                    status: if offset > 0 { 206 } else { 200 },
                    is_descriptor: false,
                    start: offset,
                    total: Some(content.len() as u64),
                    digest: Some(meta.digest),
                });
                device.handle_data(&rest[..sent]);
                device.handle_end(now(sim.begun), sent == rest.len());
            }
        }
        check(&sim, &own());
    }
}

/// One Exec an attempt, by the device's own count.
fn check(sim: &Sim, device: &SimDevice) {
    for exec in device.fumo().execs().iter().filter(|exec| exec.times > 1) {
        let wrong = format!("#{}: {:?} came {} times", device.number(), exec.operation, exec.times);
        let mut world = lock(&sim.world);
        if !world.broken.contains(&wrong) {
            world.breach(wrong);
        }
    }
}

/// A message whose digest was taken.
fn note_accepted(sim: &Sim, encoding: Encoding, body: &[u8], stepped: &Stepped) {
    let Ok(asked) = syncml::decode(encoding, body, &Default::default()) else { return };
    let Ok(answer) = syncml::decode(encoding, &stepped.body, &Default::default()) else { return };
    let Some(cred) = &asked.hdr.cred else { return };
    let type_ = cred.meta.as_ref().and_then(|meta| meta.type_.as_deref());
    let is_taken = answer.body.commands.iter().any(|command| {
        matches!(command, Command::Status(status)
            if status.cmd == "SyncHdr" && status.data == StatusCode::AUTHENTICATION_ACCEPTED)
    });
    if is_taken && type_.and_then(Scheme::parse) == Some(Scheme::Md5) {
        let (device, session) = (&asked.hdr.source.loc_uri, &asked.hdr.session_id);
        lock(&sim.world).accept(device, &cred.data, session, &stepped.body);
    }
}

async fn post(
    sim: &Arc<Sim>,
    link: &mut Link,
    chance: &mut Chance,
    encoding: Encoding,
    body: &[u8],
) -> Heard {
    let mut heard = None;
    let mut answered: Option<(Stepped, u64, Instant)> = None;
    for Delivery { body: arrives, is_heard } in link.send(body) {
        let front = {
            let fronts = sim.fronts.lock().unwrap_or_else(PoisonError::into_inner);
            fronts[chance.below(fronts.len() as u64) as usize].clone()
        };
        tokio::time::sleep(Duration::from_millis(chance.below(20))).await;
        // Nobody listens there now.
        let Some(front) = front else { continue };
        let losses = lock(&sim.world).session_losses;
        let at = Instant::now();
        let reply = if chance.hits(0.2) && !is_heard {
            // It stays on its way while others overtake it, or is worked on at the same time.
            let (sim, front) = (Arc::clone(sim), front.clone());
            let wait = Duration::from_millis(chance.below(3000));
            tokio::spawn(async move {
                tokio::time::sleep(wait).await;
                if let Ok(Some(stepped)) = step(&sim, &front, encoding, &arrives).await {
                    note_accepted(&sim, encoding, &arrives, &stepped);
                }
            });
            continue;
        } else {
            step(sim, &front, encoding, &arrives).await
        };
        let Ok(Some(stepped)) = &reply else {
            if is_heard {
                heard = reply.err().map(|status| (status, Vec::new()));
            }
            continue;
        };
        if arrives == body {
            if let Some((first, before, since)) = &answered
                && since.elapsed() < REPEAT_WINDOW
                && *before == losses
                && lock(&sim.world).session_losses == losses
                && first.body != stepped.body
            {
                let text = |stepped: &Stepped| {
                    let message = syncml::decode(encoding, &stepped.body, &Default::default());
                    message.map_or_else(|error| error.to_string(), |message| format!("{message:?}"))
                };
                let asked = syncml::decode(encoding, body, &Default::default()).unwrap();
                let wrong = format!(
                    "a repeated message {:?} got another answer: {:?} {}\n{:?} {}",
                    (&asked.hdr.source.loc_uri, &asked.hdr.session_id, asked.hdr.msg_id),
                    first.result,
                    text(first),
                    stepped.result,
                    text(stepped)
                );
                lock(&sim.world).breach(wrong);
            }
            // What came from memory at first is from before, so nobody here knows for how long it is kept; and what came late
            // or after the end is answered by where the session is then.
            let is_first = !matches!(stepped.result, MessageResult::Malformed | MessageResult::Repeated);
            if is_first && answered.is_none() {
                answered = Some((stepped.clone(), losses, at));
            }
        }
        note_accepted(sim, encoding, &arrives, stepped);
        if is_heard {
            heard = Some((200, stepped.body.clone()));
        }
    }
    if heard.is_none() {
        // The device's own patience.
        tokio::time::sleep_until(Instant::now() + Duration::from_millis(300)).await;
    }
    heard
}
