//! A campaign's state in octets, so that an owner starts again without reading the ledger from its beginning.

use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};

use super::{Campaign, Tally, clock::Clock};
use crate::{Plan, Run, Start, codec, codec::CodecError, member::Member, slots::Slots};

const VERSION: u8 = 1;

/// What cannot be computed from the plan and the members. Equal neighbours are stored once: most members wait or
/// have succeeded at their first attempt.
#[derive(Serialize, Deserialize)]
struct Checkpoint {
    run: Run,
    waves_open: u16,
    clock: (u32, Option<u32>),
    baseline: Tally,
    tried_at: Vec<Option<u32>>,
    waived: Vec<bool>,
    ignored: u64,
    members: Vec<(u32, (u8, u8, u16, u32))>,
}

impl Campaign {
    /// The state in octets.
    pub fn checkpoint(&self) -> Vec<u8> {
        let mut members: Vec<(u32, (u8, u8, u16, u32))> = Vec::new();
        for member in &self.members {
            match members.last_mut() {
                Some((count, parts)) if *parts == member.to_parts() => *count += 1,
                _ => members.push((1, member.to_parts())),
            }
        }
        let checkpoint = Checkpoint {
            run: self.run.clone(),
            waves_open: self.waves_open,
            clock: self.clock.to_parts(),
            baseline: self.baseline,
            tried_at: self.tried_at.clone(),
            waived: self.waived.clone(),
            ignored: self.ignored,
            members,
        };
        codec::encode(VERSION, &checkpoint)
    }

    /// The state as [`Campaign::checkpoint`] wrote it, for the same plan, members and start.
    ///
    /// # Errors
    ///
    /// [`CodecError`] when it is of another version, or damaged, or of other members. The owner can read the ledger
    /// from its beginning instead.
    pub fn restore(
        plan: Plan,
        members: &RoaringBitmap,
        start: &Start,
        bytes: &[u8],
    ) -> Result<Self, CodecError> {
        let malformed = CodecError::Malformed { what: "checkpoint" };
        let checkpoint: Checkpoint = codec::decode(VERSION, "checkpoint", bytes)?;
        let slots = Slots::new(members);
        let mut states = Vec::with_capacity(slots.len() as usize);
        for (count, parts) in checkpoint.members {
            let member = Member::from_parts(parts).ok_or_else(|| malformed.clone())?;
            if count as usize > slots.len() as usize - states.len() {
                return Err(malformed);
            }
            states.extend(std::iter::repeat_n(member, count as usize));
        }
        let waves = plan.definition.waves.len();
        let fits = states.len() == slots.len() as usize
            && checkpoint.tried_at.len() == waves
            && checkpoint.waived.len() == waves
            && usize::from(checkpoint.waves_open) <= waves;
        if !fits {
            return Err(malformed);
        }
        Ok(Self {
            run: checkpoint.run,
            waves_open: checkpoint.waves_open,
            clock: Clock::from_parts(start.at, checkpoint.clock),
            baseline: checkpoint.baseline,
            tried_at: checkpoint.tried_at,
            waived: checkpoint.waived,
            ignored: checkpoint.ignored,
            ..Self::with_members(plan, members, slots, states, start)
        })
    }
}
