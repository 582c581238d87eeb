//! The first stored form of a plan, from before campaigns could ask devices to come.

use std::num::NonZeroU32;

use serde::Deserialize;

use super::{Artifact, Plan};
use crate::{ArtifactRef, Definition, FailureGate, Filter, Method, Operation, RetryPolicy, Timers, Wave};

#[derive(Deserialize)]
pub(super) struct PlanV1 {
    definition: DefinitionV1,
    artifact: Artifact,
    target_version: String,
    seed: u64,
}

#[derive(Deserialize)]
struct DefinitionV1 {
    name: String,
    artifact: ArtifactRef,
    operation: Operation,
    method: Method,
    target_version: Option<String>,
    target: Filter,
    waves: Vec<Wave>,
    in_flight_max: NonZeroU32,
    failure_gate: FailureGate,
    timers: Timers,
    retry: RetryPolicy,
    seed: Option<u64>,
    allow_zero_members: bool,
}

impl From<PlanV1> for Plan {
    fn from(stored: PlanV1) -> Self {
        let PlanV1 { definition, artifact, target_version, seed } = stored;
        Self { definition: definition.into(), artifact, target_version, seed }
    }
}

impl From<DefinitionV1> for Definition {
    fn from(stored: DefinitionV1) -> Self {
        Self {
            name: stored.name,
            artifact: stored.artifact,
            operation: stored.operation,
            method: stored.method,
            target_version: stored.target_version,
            target: stored.target,
            waves: stored.waves,
            in_flight_max: stored.in_flight_max,
            failure_gate: stored.failure_gate,
            timers: stored.timers,
            retry: stored.retry,
            seed: stored.seed,
            allow_zero_members: stored.allow_zero_members,
            trigger: true,
        }
    }
}
