//! Plans for tests.

use crate::{Artifact, Definition, Digest, Plan};

/// A plan by its file, with an artifact `fw 2.0` and the seed 1 where the file says none.
pub(crate) fn plan_of(text: &str) -> Plan {
    let text = format!("name = 'test'\nartifact = {{ name = 'fw', version = '2.0' }}\n{text}");
    let artifact = Artifact { digest: Digest([7; 32]), size: 1000, name: "fw".into(), version: "2.0".into() };
    Plan::new(Definition::parse_toml(&text).unwrap(), artifact, 1)
}

/// A plan of all defaults.
pub(crate) fn plan() -> Plan {
    plan_of("")
}
