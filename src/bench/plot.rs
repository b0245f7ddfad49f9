//! Plots as SVG that stands inside a page: lines and dots over two axes, coloured by the page's own style.
//!
//! Pure. Nothing outside of the page is named, and points that no axis has (0 on a logarithmic one) are left out.

use std::fmt::Write;

/// The drawing's size in its own units; a page scales it.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 280.0;
/// Room for the labels: left, right, above, below.
const LEFT: f64 = 84.0;
const RIGHT: f64 = 26.0;
const ABOVE: f64 = 12.0;
const BELOW: f64 = 44.0;

/// Dots at most that say their values when they are pointed at: more would only make the page large.
const HINTED_DOT_COUNT_MAX: usize = 400;

/// How an axis is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Evenly.
    Linear,
    /// By ratio.
    Log,
}

/// An axis: what it shows, and from where to where.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// What it shows.
    pub label: String,
    /// How it is divided.
    pub scale: Scale,
    /// First and last value, ascending.
    pub range: (f64, f64),
    /// Values with a line, and what stands beside it.
    pub ticks: Vec<(f64, String)>,
}

impl Axis {
    /// From 0 to at least `max`, with round numbers on it that `text` writes.
    pub fn linear(label: &str, max: f64, text: impl Fn(f64) -> String) -> Axis {
        let max = if max > 0.0 && max < 1e100 { max } else { 1.0 };
        let rough = max / 5.0;
        let size = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0].map(|factor| factor * size).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(10.0 * size);
        let count = (max / step).ceil().max(1.0) as usize;
        let ticks = (0..=count).map(|tick| (tick as f64 * step, text(tick as f64 * step))).collect();
        Axis { label: label.to_owned(), scale: Scale::Linear, range: (0.0, count as f64 * step), ticks }
    }

    /// Around `min` to `max`, by decades, and 2 and 5 between where there are few of them.
    pub fn log(label: &str, min: f64, max: f64, text: impl Fn(f64) -> String) -> Axis {
        // Whoever looked for the least and the most of nothing comes with a min above its max.
        let (min, max) = if min > 0.0 && max >= min && max < 1e100 { (min, max.max(min * 2.0)) } else { (1.0, 10.0) };
        let few = (max / min).log10() < 3.0;
        let steps: &[f64] = if few { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let decades = min.log10().floor() as i32..=max.log10().ceil() as i32;
        let all: Vec<f64> =
            decades.flat_map(|decade| steps.iter().map(move |step| step * 10_f64.powi(decade))).collect();
        let first = all.iter().rposition(|value| *value <= min).unwrap_or(0);
        let last = all.iter().position(|value| *value >= max).unwrap_or(all.len() - 1);
        let ticks = all[first..=last].iter().map(|value| (*value, text(*value))).collect();
        Axis { label: label.to_owned(), scale: Scale::Log, range: (all[first], all[last]), ticks }
    }

    /// Where a value lies, 0 being the axis's beginning and 1 its end; `None` outside of it.
    fn place(&self, value: f64) -> Option<f64> {
        let (from, to) = self.range;
        let place = match self.scale {
            Scale::Linear => (value - from) / (to - from),
            Scale::Log if value <= 0.0 => return None,
            Scale::Log => (value / from).ln() / (to / from).ln(),
        };
        (-1e-9..=1.0 + 1e-9).contains(&place).then_some(place)
    }
}

/// How a series is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Straight lines from point to point.
    Line,
    /// The same, broken.
    Dashed,
    /// Points.
    Dots,
}

/// Points that belong together.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// For the legend; an empty one is not in it.
    pub name: String,
    /// How it is drawn.
    pub kind: Kind,
    /// Which of the page's colours, from 0 on.
    pub color: usize,
    /// x and y, in the order in which they are drawn. A y that is not finite breaks the line.
    pub points: Vec<(f64, f64)>,
}

/// How many colours a page has.
pub const COLOR_COUNT: usize = 6;

/// A figure: heading, legend, drawing. `x_text` and `y_text` write values where a dot is pointed at.
pub fn figure(
    title: &str,
    x: &Axis,
    y: &Axis,
    series: &[Series],
    x_text: impl Fn(f64) -> String,
    y_text: impl Fn(f64) -> String,
) -> String {
    let mut svg = String::new();
    let (width, height) = (WIDTH - LEFT - RIGHT, HEIGHT - ABOVE - BELOW);
    let at_x = |value: f64| x.place(value).map(|place| LEFT + place * width);
    let at_y = |value: f64| y.place(value).map(|place| ABOVE + (1.0 - place) * height);
    let bottom = ABOVE + height;
    write!(svg, "<figure><figcaption><h3>{}</h3><span class=\"legend\">", escape(title)).expect(TAKES_ALL);
    for one in series.iter().filter(|one| !one.name.is_empty()) {
        let kind = if one.kind == Kind::Dots { "dot" } else { "dash" };
        let color = one.color % COLOR_COUNT;
        write!(svg, "<span><i class=\"{kind} c{color}\"></i>{}</span>", escape(&one.name)).expect(TAKES_ALL);
    }
    svg.push_str("</span></figcaption>");
    write!(svg, "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">", escape(title))
        .expect(TAKES_ALL);
    for (value, text) in &y.ticks {
        let Some(at) = at_y(*value) else { continue };
        write!(
            svg,
            "<path class=\"grid\" d=\"M{LEFT} {at:.1}h{width}\"/><text x=\"{:.1}\" y=\"{:.1}\" \
             text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            at + 4.0,
            escape(text)
        )
        .expect(TAKES_ALL);
    }
    for (value, text) in &x.ticks {
        let Some(at) = at_x(*value) else { continue };
        write!(
            svg,
            "<path class=\"grid\" d=\"M{at:.1} {ABOVE}v{height}\"/><text x=\"{at:.1}\" y=\"{:.1}\" \
             text-anchor=\"middle\">{}</text>",
            bottom + 17.0,
            escape(text)
        )
        .expect(TAKES_ALL);
    }
    write!(svg, "<path class=\"axis\" d=\"M{LEFT} {bottom}h{width}\"/>").expect(TAKES_ALL);
    write!(
        svg,
        "<text class=\"label\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
        LEFT + width / 2.0,
        HEIGHT - 6.0,
        escape(&x.label)
    )
    .expect(TAKES_ALL);
    write!(
        svg,
        "<text class=\"label\" transform=\"translate(12 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
        ABOVE + height / 2.0,
        escape(&y.label)
    )
    .expect(TAKES_ALL);
    for one in series {
        let color = one.color % COLOR_COUNT;
        match one.kind {
            Kind::Line | Kind::Dashed => {
                let class = if one.kind == Kind::Line { "line" } else { "line broken" };
                write!(svg, "<path class=\"{class} c{color}\" d=\"").expect(TAKES_ALL);
                let mut command = 'M';
                for (px, py) in &one.points {
                    match (at_x(*px), at_y(*py)) {
                        (Some(px), Some(py)) => {
                            write!(svg, "{command}{px:.1} {py:.1}").expect(TAKES_ALL);
                            command = 'L';
                        }
                        _ => command = 'M',
                    }
                }
                svg.push_str("\"/>");
            }
            Kind::Dots => {
                let hinted = one.points.len() <= HINTED_DOT_COUNT_MAX;
                for (px, py) in &one.points {
                    let (Some(cx), Some(cy)) = (at_x(*px), at_y(*py)) else { continue };
                    write!(svg, "<circle class=\"c{color}\" cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"3\">").expect(TAKES_ALL);
                    if hinted {
                        let hint = format!("{} {}: {}", one.name, x_text(*px), y_text(*py));
                        write!(svg, "<title>{}</title>", escape(hint.trim())).expect(TAKES_ALL);
                    }
                    svg.push_str("</circle>");
                }
            }
        }
    }
    svg.push_str("</svg></figure>");
    svg
}

const TAKES_ALL: &str = "a string takes all";

/// Text that can stand in HTML, in attributes too.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_hold_their_values_and_have_round_ticks() {
        for max in [0.3, 1.0, 7.0, 99.0, 101.0, 523_456.0] {
            let axis = Axis::linear("x", max, |value| value.to_string());
            assert!(axis.range.1 >= max && axis.range.1 <= 2.5 * max, "{max}: {:?}", axis.range);
            assert!((2..=7).contains(&axis.ticks.len()), "{max}: {:?}", axis.ticks);
        }
        for (min, max) in [(3.0, 4.0), (80.0, 1e6), (1.0, 1e9), (5.0, 5.0)] {
            let axis = Axis::log("x", min, max, |value| value.to_string());
            assert!(axis.range.0 <= min && axis.range.1 >= max, "{min} {max}: {:?}", axis.range);
            assert!((2..=12).contains(&axis.ticks.len()), "{min} {max}: {:?}", axis.ticks);
        }
        for (min, max) in [(f64::MAX, 0.0), (0.0, f64::NAN), (1.0, f64::INFINITY), (-1.0, 1.0)] {
            assert_eq!(Axis::log("x", min, max, |value| value.to_string()).range, (1.0, 10.0));
        }
    }

    #[test]
    fn what_no_axis_has_is_left_out_and_breaks_the_line() {
        let x = Axis::linear("x", 3.0, |value| value.to_string());
        let y = Axis::log("y", 1.0, 100.0, |value| value.to_string());
        let points = vec![(0.0, 1.0), (1.0, 0.0), (2.0, 10.0), (3.0, f64::NAN), (3.0, 100.0)];
        let series = [Series { name: "<a>".to_owned(), kind: Kind::Line, color: 0, points }];
        let svg = figure("t", &x, &y, &series, |x| x.to_string(), |y| y.to_string());
        let path = svg.split("class=\"line c0\" d=\"").nth(1).unwrap().split('"').next().unwrap();
        assert_eq!(path.matches('M').count(), 3, "{path}");
        assert!(svg.contains("&lt;a&gt;") && !svg.contains("<a>") && !svg.contains("NaN"));
    }
}
