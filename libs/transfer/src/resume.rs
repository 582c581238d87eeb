//! An export that goes on where it was broken off.

use std::io::BufRead;

use storage::TenantId;

use crate::{Counts, TransferError, line::Line};

/// Where an export goes on in its file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resume {
    /// Octets of the file that are kept; what stands behind them is to be cut off.
    pub octets: u64,
    /// What they hold.
    pub counts: Counts,
    pub(crate) part: Part,
}

/// What is written next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    #[default]
    Header,
    Artifacts,
    /// The devices from an ordinal on.
    Devices(u32),
    Campaigns,
    /// Nothing: the file is whole.
    End,
}

impl Resume {
    /// Reads what an export has left. It goes on before the last device of the file, whose trees may not all be there; the
    /// artifacts and the campaigns are written anew, each as a whole.
    ///
    /// # Errors
    ///
    /// [`TransferError`]: the file cannot be read, is no export, or is another tenant's. A last line that was cut is none.
    pub fn find(tenant: &TenantId, file: &mut (dyn BufRead + Send)) -> Result<Self, TransferError> {
        let (mut found, mut at, mut counts) = (Self::default(), 0, Counts::default());
        let mut text = Vec::new();
        for number in 1_u64.. {
            text.clear();
            let read = file.read_until(b'\n', &mut text);
            let end = at + read.map_err(|error| TransferError::File("read", error))? as u64;
            if !text.ends_with(b"\n") {
                break;
            }
            let wrong = |problem: String| TransferError::Line { line: number, problem };
            let line: Line = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
            if number == 1 {
                let header = line.as_header().map_err(wrong)?;
                if header.tenant != tenant.0.as_ref() {
                    return Err(wrong(format!(
                        "expected an export of {tenant}, got one of {}",
                        header.tenant
                    )));
                }
                found = Self { octets: end, counts, part: Part::Artifacts };
            }
            match line {
                Line::Artifact(_) => counts.artifacts += 1,
                Line::Device(device) => {
                    found = Self { octets: at, counts, part: Part::Devices(device.ordinal) };
                    counts.devices += 1;
                }
                Line::Tree(_) => counts.trees += 1,
                Line::Campaign(_) if found.part < Part::Campaigns => {
                    found = Self { octets: at, counts, part: Part::Campaigns };
                }
                Line::End(counts) => return Ok(Self { octets: end, counts, part: Part::End }),
                _ => {}
            }
            at = end;
        }
        Ok(found)
    }
}
