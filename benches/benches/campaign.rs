//! The campaign's hot paths: what an event costs its owner, and what a device costs the choosing of members.

use std::{borrow::Cow, collections::BTreeSet, hint::black_box};

use campaign::{
    Artifact, Campaign, CampaignId, Decision, Definition, DeviceFacts, Digest, EventKind, Job, JobEvent,
    Phase, Plan, Start, Waves,
};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use dm_objects::agenda::{FirmwareFact, FirmwareStage};
use dm_protocol::DevId;
use jiff::Timestamp;
use roaring::RoaringBitmap;

const MEMBERS: u32 = 100_000;

fn plan(text: &str) -> Plan {
    let text = format!("name = 'bench'\nartifact = {{ name = 'fw' }}\nseed = 1\n{text}");
    let artifact =
        Artifact { digest: Digest([0; 32]), size: 1 << 20, name: "fw".into(), version: "2.0".into() };
    Plan::new(Definition::parse_toml(&text).expect("a definition"), artifact, 0)
}

/// The ledger of a whole campaign, decided and folded in batches as its owner does it.
fn whole_campaign(plan: &Plan, members: &RoaringBitmap, start: &Start, device: &DevId) -> Vec<JobEvent> {
    let mut campaign = Campaign::new(plan.clone(), members, start);
    let mut ledger = Vec::new();
    loop {
        let mut events = Vec::new();
        for decision in campaign.decide(start.at, 2048) {
            match decision {
                Decision::Record(kind) => events.push(JobEvent::campaign(start.at, kind)),
                Decision::Release { ordinal, attempt, wave, after } => {
                    events.extend(one_device(plan, start.at, device, (ordinal, attempt), wave, after));
                }
                Decision::End { .. } => unreachable!("no timer ends in no time"),
            }
        }
        if events.is_empty() {
            return ledger;
        }
        events.iter().for_each(|event| campaign.fold(event));
        ledger.append(&mut events);
    }
}

fn one_device(
    plan: &Plan,
    at: Timestamp,
    device: &DevId,
    (ordinal, attempt): (u32, u16),
    wave: u16,
    after: Option<campaign::Outcome>,
) -> Vec<JobEvent> {
    let mut job = Job { campaign: CampaignId(1), ordinal, attempt, phase: Phase::Waiting, since: at };
    let kind = EventKind::Released { wave, after };
    let mut events = vec![JobEvent { device: Some(device.clone()), ordinal, attempt, at, kind }];
    let facts = [
        FirmwareFact::Stage(FirmwareStage::ExecSent),
        FirmwareFact::Stage(FirmwareStage::Updating),
        FirmwareFact::Done { code: 200, version: "2.0".into() },
    ];
    for fact in facts {
        let next = job.apply(device, &fact, plan, at);
        events.extend(next.events);
        job = next.job.unwrap_or(job);
    }
    events
}

fn owner(c: &mut Criterion) {
    let plan = plan("in_flight_max = 10000\nwaves = [{percent = 1}, {percent = 10}, {}]");
    let members: RoaringBitmap = (0..MEMBERS).collect();
    let start = Start { at: Timestamp::UNIX_EPOCH, by: "bench".into() };
    let device = DevId::parse("IMEI:490154203237518").expect("a name");
    let ledger = whole_campaign(&plan, &members, &start, &device);

    let mut group = c.benchmark_group("campaign");
    group.sample_size(20);
    group.throughput(Throughput::Elements(ledger.len() as u64));
    group.bench_function("fold/100k-members", |b| {
        let new = || Campaign::new(plan.clone(), &members, &start);
        let fold = |mut campaign: Campaign| {
            ledger.iter().for_each(|event| campaign.fold(event));
            campaign
        };
        b.iter_batched(new, fold, BatchSize::LargeInput);
    });
    group.bench_function("fold+decide/100k-members", |b| {
        b.iter(|| whole_campaign(&plan, &members, &start, &device));
    });
    group.throughput(Throughput::Elements(u64::from(MEMBERS)));
    let done = Campaign::replay(plan.clone(), &members, &start, &ledger[..ledger.len() / 2]);
    group.bench_function("checkpoint/100k-members", |b| b.iter(|| done.checkpoint()));
    group.bench_function("waves/100k-members", |b| b.iter(|| Waves::new(&plan, &members)));
    group.finish();
}

fn filter(c: &mut Criterion) {
    let plan = plan(
        "[target]\nmaker = 'Acme'\nmodel = ['M1', 'M2', 'M3*']\nfirmware = ['1.0', '1.1']\ntags_any = ['pilot', 'east']\n\
         [target.tree]\n'./DevDetail/HwV' = 'rev-b'",
    );
    let tags: BTreeSet<String> = ["east", "gold"].map(str::to_owned).into();
    let tree = |_: &str| Some(Cow::Borrowed("rev-b"));
    let (maker, model, firmware) = ("Acme", "M3-X", "1.1");
    let facts = DeviceFacts { id: "IMEI:490154203237518", maker, model, firmware, tags: &tags, tree: &tree };
    assert_eq!(plan.definition.target.matches(&facts), Ok(()));
    let mut group = c.benchmark_group("campaign");
    group.throughput(Throughput::Elements(1));
    group.bench_function("filter/device", |b| b.iter(|| plan.definition.target.matches(black_box(&facts))));
    group.finish();
}

criterion_group!(benches, owner, filter);
criterion_main!(benches);
