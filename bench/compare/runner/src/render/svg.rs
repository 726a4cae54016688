//! Draws horizontal bars as SVG that can be read on light and dark pages.

use std::fmt::Write as _;

use crate::stats::Summary;

/// A chart: groups of bars on one scale.
#[derive(Debug)]
pub(super) struct Drawing {
    pub(super) title: &'static str,
    pub(super) subtitle: &'static str,
    pub(super) groups: Vec<Group>,
}

/// Bars under one heading.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) title: String,
    pub(super) bars: Vec<Bar>,
}

/// One bar: as long as the median, with a line from the least to the most.
#[derive(Debug)]
pub(super) struct Bar {
    pub(super) label: String,
    pub(super) written: String,
    pub(super) summary: Summary,
    pub(super) kind: Kind,
}

/// Whose bar it is, which is its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Ours,
    Floor,
    Other,
}

const WIDTH: f64 = 760.0;
/// Where bars begin: behind their labels.
const LEFT: f64 = 100.0;
/// How long the longest is; behind it is room for its figure.
const LONGEST: f64 = 560.0;
const ROW: f64 = 22.0;
const BAR: f64 = 14.0;
const HEADING: f64 = 30.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = 12.0;

const STYLE: &str = "\
text{font:13px system-ui,-apple-system,'Segoe UI',sans-serif;fill:#1f2328}\
.title{font-size:15px;font-weight:600}.muted{fill:#59636e}.ours{font-weight:600}\
.page{fill:#fff}rect.ours{fill:#0969da}rect.floor{fill:#afb8c1}rect.other{fill:#8c959f}\
.spread{stroke:#1f2328;stroke-width:1.5;opacity:.55}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.muted{fill:#9198a1}\
.page{fill:#0d1117}rect.ours{fill:#4493f8}rect.floor{fill:#3d444d}rect.other{fill:#656c76}.spread{stroke:#e6edf3}}";

/// The chart as a file.
pub(super) fn draw(drawing: &Drawing) -> String {
    let bars: usize = drawing.groups.iter().map(|group| group.bars.len()).sum();
    let height = TOP + HEADING * drawing.groups.len() as f64 + ROW * bars as f64 + BOTTOM;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" role=\"img\">\n\
<title>{title}</title>\n<style>{STYLE}</style>\n\
<rect class=\"page\" width=\"{WIDTH}\" height=\"{height}\" rx=\"6\"/>\n",
        title = escape(drawing.title)
    );
    text(&mut svg, 16.0, 26.0, "title", drawing.title);
    text(&mut svg, 16.0, 45.0, "muted", drawing.subtitle);
    let scale = scale(drawing);
    let mut y = TOP;
    for group in &drawing.groups {
        text(&mut svg, 16.0, y + 20.0, "muted", &group.title);
        y += HEADING;
        for bar in &group.bars {
            draw_bar(&mut svg, bar, y, scale);
            y += ROW;
        }
    }
    svg + "</svg>\n"
}

/// Pixels per unit: the longest bar of all groups, or line, is as long as there is room.
fn scale(drawing: &Drawing) -> f64 {
    let bars = drawing.groups.iter().flat_map(|group| &group.bars);
    let longest = bars.map(|bar| bar.summary.max).fold(0.0, f64::max);
    if longest > 0.0 { LONGEST / longest } else { 0.0 }
}

fn draw_bar(svg: &mut String, bar: &Bar, y: f64, scale: f64) {
    let class = match bar.kind {
        Kind::Ours => "ours",
        Kind::Floor => "floor",
        Kind::Other => "other",
    };
    let [length, from, to] =
        [bar.summary.median, bar.summary.min, bar.summary.max].map(|value| value * scale);
    let (middle, baseline) = (y + BAR / 2.0, y + BAR - 2.5);
    text(svg, 16.0, baseline, class, &bar.label);
    // Zero is a bar too, that of whoever needs nothing.
    let width = length.max(1.5);
    line(
        svg,
        format_args!(
            "<rect class=\"{class}\" x=\"{LEFT}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAR}\" rx=\"2\"/>"
        ),
    );
    if to - from > 1.0 {
        let (from, to) = (LEFT + from, LEFT + to);
        line(
            svg,
            format_args!("<path class=\"spread\" d=\"M{from:.1} {middle}H{to:.1}\"/>"),
        );
    }
    text(svg, LEFT + width.max(to) + 8.0, baseline, class, &bar.written);
}

fn text(svg: &mut String, x: f64, y: f64, class: &str, text: &str) {
    line(
        svg,
        format_args!(
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>",
            escape(text)
        ),
    );
}

fn line(svg: &mut String, element: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = writeln!(svg, "{element}");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(label: &str, value: f64, kind: Kind) -> Bar {
        Bar {
            label: label.to_owned(),
            written: value.to_string(),
            summary: Summary::of([value]).unwrap(),
            kind,
        }
    }

    fn drawing(bars: Vec<Bar>) -> Drawing {
        Drawing {
            title: "a < b",
            subtitle: "shorter is better",
            groups: vec![Group {
                title: "TCP & ct".to_owned(),
                bars,
            }],
        }
    }

    #[test]
    fn the_longest_bar_has_all_the_room() {
        let svg = draw(&drawing(vec![
            bar("ours", 2.0, Kind::Ours),
            bar("raw-tokio", 8.0, Kind::Floor),
        ]));
        assert!(
            svg.contains("class=\"ours\" x=\"100\" y=\"86\" width=\"140.0\""),
            "{svg}"
        );
        assert!(
            svg.contains("class=\"floor\" x=\"100\" y=\"108\" width=\"560.0\""),
            "{svg}"
        );
    }

    #[test]
    fn text_is_text() {
        let svg = draw(&drawing(vec![bar("x", 0.0, Kind::Other)]));
        assert!(svg.contains("<title>a &lt; b</title>") && svg.contains(">TCP &amp; ct<"));
        assert!(svg.contains("width=\"1.5\""));
    }
}
