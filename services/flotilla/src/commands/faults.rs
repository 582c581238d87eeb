//! Faults of a simulated fleet, as flags.

use clap::Args;
use loadtest::FaultPlan;

/// What goes wrong, how often. A share is `0.05` or `5%`.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Faults")]
pub(crate) struct FaultArgs {
    /// A bad night: 5 % lost replies, 2 % repeated, 1 % cut, 1 % slow, 3 % failing, 1 % silent,
    /// 0.5 % wrong version, 10 % of triggers lost; the flags below change single ones
    #[arg(long)]
    rough: bool,
    /// Of the messages: the answer never arrives, so the device sends it again
    #[arg(long, value_name = "SHARE", value_parser = parse_share)]
    reply_lost: Option<f64>,
    /// Of the messages: sent twice although answered
    #[arg(long, value_name = "SHARE", value_parser = parse_share)]
    repeated: Option<f64>,
    /// Of the messages and parts of downloads: the connection breaks in the middle
    #[arg(long, value_name = "SHARE", value_parser = parse_share)]
    cut: Option<f64>,
    /// Of the messages: the device thinks for long before it sends
    #[arg(long, value_name = "SHARE", value_parser = parse_share)]
    slow: Option<f64>,
    /// Of the attempts: end with a failing result code
    #[arg(long, value_name = "SHARE", value_parser = parse_share)]
    failing: Option<f64>,
    /// Of the devices: silent for ever once they accepted an update
    #[arg(long, value_name = "SHARE", value_parser = parse_share)]
    silent: Option<f64>,
    /// Of the attempts: report success and still have the old version
    #[arg(long, value_name = "SHARE", value_parser = parse_share)]
    wrong_version: Option<f64>,
    /// Of the triggers: the device never gets it
    #[arg(long, value_name = "SHARE", value_parser = parse_share)]
    trigger_lost: Option<f64>,
}

impl FaultArgs {
    /// The plan.
    pub(crate) fn plan(&self) -> FaultPlan {
        let base = if self.rough { FaultPlan::rough() } else { FaultPlan::default() };
        FaultPlan {
            reply_lost: self.reply_lost.unwrap_or(base.reply_lost),
            repeated: self.repeated.unwrap_or(base.repeated),
            cut: self.cut.unwrap_or(base.cut),
            slow: self.slow.unwrap_or(base.slow),
            failing: self.failing.unwrap_or(base.failing),
            silent: self.silent.unwrap_or(base.silent),
            wrong_version: self.wrong_version.unwrap_or(base.wrong_version),
            trigger_lost: self.trigger_lost.unwrap_or(base.trigger_lost),
            failing_codes: base.failing_codes,
        }
    }
}

fn parse_share(text: &str) -> Result<f64, String> {
    let (number, unit) = match text.strip_suffix('%') {
        Some(number) => (number.trim(), 100.0),
        None => (text, 1.0),
    };
    match number.parse::<f64>() {
        Ok(number) if (0.0..=1.0).contains(&(number / unit)) => Ok(number / unit),
        _ => Err("expected a share such as 0.05 or 5%".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::parse_share;

    #[test]
    fn shares_are_fractions_or_percent() {
        for (text, want) in [
            ("0.05", Some(0.05)),
            ("5%", Some(0.05)),
            ("0.5 %", Some(0.005)),
            ("1", Some(1.0)),
            ("5", None),
            ("-1%", None),
            ("NaN", None),
            ("", None),
        ] {
            assert_eq!(parse_share(text).ok(), want, "{text}");
        }
    }
}
