//! Line plots as inline SVG.

use std::fmt::Write as _;

use crate::html::escape;

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 250.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 24.0;
const BOTTOM: f64 = 26.0;
/// Points with a text of their own; more would only make the page heavy.
const HITS_MAX: usize = 120;

/// How values lie on an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// From 0, evenly.
    Linear,
    /// By powers of ten.
    Log,
    /// Values are counts of nines: 1 is 90 %, 2 is 99 %.
    Nines,
}

/// One line.
pub(crate) struct Curve {
    name: &'static str,
    /// Of the page's three colours.
    colour: u8,
    points: Vec<(f64, f64)>,
}

impl Curve {
    pub(crate) fn new(name: &'static str, colour: u8, points: Vec<(f64, f64)>) -> Self {
        Self { name, colour, points }
    }
}

/// One plot.
pub(crate) struct Plot {
    /// What is counted upwards.
    pub(crate) unit: &'static str,
    /// And to the right.
    pub(crate) x_unit: &'static str,
    pub(crate) x: Scale,
    pub(crate) y: Scale,
    pub(crate) curves: Vec<Curve>,
}

struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    fn place(&self, value: f64) -> f64 {
        let of = |value: f64| if self.scale == Scale::Log { value.max(1e-9).log10() } else { value };
        let span = (of(self.high) - of(self.low)).max(1e-12);
        self.from + (of(value) - of(self.low)) / span * (self.to - self.from)
    }

    fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => {
                let step = step(self.high);
                (0..)
                    .map(|n| f64::from(n) * step)
                    .take_while(|value| *value <= self.high * 1.000_001)
                    .collect()
            }
            Scale::Log => {
                let (low, high) = (self.low.log10().round() as i32, self.high.log10().round() as i32);
                (low..=high).map(|power| 10_f64.powi(power)).collect()
            }
            Scale::Nines => (0..=self.high.floor() as i32).map(f64::from).collect(),
        }
    }
}

impl Plot {
    pub(crate) fn draw(&self, out: &mut String) {
        let _ = writeln!(out, "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">");
        let points = || self.curves.iter().flat_map(|curve| curve.points.iter().copied());
        if points().next().is_none() {
            let _ = writeln!(
                out,
                "<text x=\"{LEFT}\" y=\"{}\">nothing was measured</text>\n</svg>",
                HEIGHT / 2.0
            );
            return;
        }
        let axis = |scale, values: &mut dyn Iterator<Item = f64>, from, to| {
            let (low, high) = bounds(scale, values);
            Axis { scale, low, high, from, to }
        };
        let x = axis(self.x, &mut points().map(|(x, _)| x), LEFT, WIDTH - RIGHT);
        let y = axis(self.y, &mut points().map(|(_, y)| y), HEIGHT - BOTTOM, TOP);
        self.grid(out, &x, &y);
        let mut legend_at = LEFT;
        for curve in &self.curves {
            line(out, curve, &x, &y);
            let _ = writeln!(
                out,
                "<rect class=\"f{0}\" x=\"{legend_at:.0}\" y=\"5\" width=\"10\" height=\"10\" rx=\"2\"/>\
                 <text x=\"{1:.0}\" y=\"14\">{2}</text>",
                curve.colour,
                legend_at + 15.0,
                escape(curve.name)
            );
            legend_at += 34.0 + 6.4 * curve.name.len() as f64;
        }
        for curve in &self.curves {
            self.hits(out, curve, &x, &y);
        }
        out.push_str("</svg>\n");
    }

    fn grid(&self, out: &mut String, x: &Axis, y: &Axis) {
        for value in y.ticks() {
            let at = y.place(value);
            let _ = writeln!(
                out,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 7.0,
                at + 4.0,
                short(value)
            );
        }
        for value in x.ticks() {
            let text = if x.scale == Scale::Nines {
                percent(value)
            } else {
                format!("{}{}", short(value), self.x_unit)
            };
            let at = x.place(value);
            // Text at the ends stays inside the picture.
            let anchor = if at > WIDTH - RIGHT - 20.0 { "end" } else { "middle" };
            let _ = writeln!(
                out,
                "<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{text}</text>",
                HEIGHT - BOTTOM + 17.0,
            );
        }
    }

    fn hits(&self, out: &mut String, curve: &Curve, x: &Axis, y: &Axis) {
        let every = curve.points.len().div_ceil(HITS_MAX).max(1);
        for &(at, value) in curve.points.iter().step_by(every) {
            let where_ =
                if x.scale == Scale::Nines { percent(at) } else { format!("{}{}", short(at), self.x_unit) };
            let _ = writeln!(
                out,
                "<circle class=\"hit\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"5\"><title>{}: {} {} at {where_}</title></circle>",
                x.place(at),
                y.place(value),
                escape(curve.name),
                short(value),
                self.unit,
            );
        }
    }
}

fn line(out: &mut String, curve: &Curve, x: &Axis, y: &Axis) {
    let _ = write!(out, "<polyline class=\"curve s{}\" points=\"", curve.colour);
    for &(at, value) in &curve.points {
        let _ = write!(out, "{:.1},{:.1} ", x.place(at), y.place(value));
    }
    out.push_str("\"/>\n");
}

fn bounds(scale: Scale, values: &mut dyn Iterator<Item = f64>) -> (f64, f64) {
    let (mut low, mut high) = (f64::INFINITY, 0.0_f64);
    for value in values {
        low = low.min(value);
        high = high.max(value);
    }
    match scale {
        Scale::Linear => {
            let step = step(high.max(1e-9));
            (0.0, (high / step).ceil().max(1.0) * step)
        }
        Scale::Log => {
            let low = 10_f64.powf(low.max(1e-3).log10().floor());
            (low, 10_f64.powf(high.max(1e-3).log10().ceil()).max(low * 10.0))
        }
        Scale::Nines => (0.0, high.max(1.0)),
    }
}

/// A round step that makes about five of the whole.
fn step(high: f64) -> f64 {
    let raw = (high / 5.0).max(1e-9);
    let power = 10_f64.powf(raw.log10().floor());
    let factor = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().find(|factor| factor * power >= raw);
    factor.unwrap_or(10.0) * power
}

fn short(value: f64) -> String {
    let (scaled, suffix) = match value {
        v if v >= 1e6 => (v / 1e6, "M"),
        v if v >= 1e4 => (v / 1e3, "k"),
        v => (v, ""),
    };
    let text = match scaled {
        v if v == 0.0 || v >= 100.0 => format!("{v:.0}"),
        v if v >= 1.0 => format!("{v:.2}"),
        v => format!("{v:.4}"),
    };
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{suffix}")
}

fn percent(nines: f64) -> String {
    let percent = 100.0 - 100.0 * 10_f64.powf(-nines);
    let digits = (nines.round() as usize).saturating_sub(2);
    format!("{percent:.digits$} %")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (value, want) in [
            (0.0, "0"),
            (0.25, "0.25"),
            (5.0, "5"),
            (99.5, "99.5"),
            (1_234.0, "1234"),
            (12_500.0, "12.5k"),
            (3_000_000.0, "3M"),
        ] {
            assert_eq!(short(value), want);
        }
        assert_eq!([percent(0.0), percent(1.0), percent(3.0)], ["0 %", "90 %", "99.9 %"]);
    }

    #[test]
    fn steps_are_round_and_few() {
        for high in [0.7, 1.0, 9.0, 47.0, 1_000.0, 123_456.0] {
            let ticks = high / step(high);
            assert!((2.0..=5.1).contains(&ticks), "{ticks} steps to {high}");
        }
    }

    #[test]
    fn no_point_leaves_the_picture() {
        for (x, y) in
            [(Scale::Linear, Scale::Linear), (Scale::Linear, Scale::Log), (Scale::Nines, Scale::Log)]
        {
            let points = vec![(0.0, 0.002), (1.0, 3.0), (2.5, 99_999.0)];
            let plot = Plot { unit: "u", x_unit: "", x, y, curves: vec![Curve::new("a", 1, points)] };
            let mut out = String::new();
            plot.draw(&mut out);
            let drawn = out.split("points=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
            assert_eq!(drawn.split_whitespace().count(), 3);
            for pair in drawn.split_whitespace() {
                let (x, y) = pair.split_once(',').unwrap();
                let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
                assert!((LEFT..=WIDTH).contains(&x) && (TOP - 0.1..=HEIGHT).contains(&y), "{pair}");
            }
        }
    }
}
