//! Times of frames, drawn for a person to look at: one SVG, with the moments that explain its peaks.
//!
//! Pure text.

use std::fmt::Write as _;

/// A moment worth a line across the plot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// At which frame, counted from 1.
    pub frame: usize,
    /// What happened, in a few words.
    pub what: String,
}

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 320.0;
/// Room for the axes' texts.
const MARGIN: f64 = 48.0;

/// So many places beside each other can be told apart.
const COLUMNS: usize = 400;

/// `times_ms` of frames 1, 2, 3 … as a line, in ms, and `moments` across it. Where there are more frames than places, the line
/// goes through the quickest and the slowest one of each place.
pub fn frame_times(title: &str, times_ms: &[f64], moments: &[Moment]) -> String {
    let most = times_ms.iter().copied().fold(1.0, f64::max);
    let count = times_ms.len().max(2) as f64;
    let x = |frame: f64| MARGIN + (frame - 1.0) / (count - 1.0) * (WIDTH - 2.0 * MARGIN);
    let y = |ms: f64| HEIGHT - MARGIN - ms / most * (HEIGHT - 2.0 * MARGIN);
    let (left, right, bottom) = (MARGIN, WIDTH - MARGIN, HEIGHT - MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<title>{title}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{left}\" y=\"20\" font-size=\"14\">{title}</text>\n\
         <path d=\"M{left} {top}V{bottom}H{right}\" fill=\"none\" stroke=\"black\"/>\n\
         <text x=\"4\" y=\"{top}\">{most:.0} ms</text><text x=\"4\" y=\"{bottom}\">0 ms</text>\n\
         <text x=\"{right}\" y=\"{under}\" text-anchor=\"end\">frame {last}</text>\n",
        title = escaped(title),
        top = MARGIN,
        under = bottom + 16.0,
        last = times_ms.len(),
    );
    for (n, Moment { frame, what }) in moments.iter().enumerate() {
        let (at, height) = (x(*frame as f64), MARGIN + 12.0 * (1 + n % 4) as f64);
        // Writing to a String can't fail.
        let _ = writeln!(
            svg,
            "<path d=\"M{at:.1} {MARGIN}V{bottom}\" stroke=\"#c60\" stroke-dasharray=\"3\"/>\
             <text x=\"{:.1}\" y=\"{height}\" fill=\"#c60\">{}</text>",
            at + 3.0,
            escaped(what)
        );
    }
    let frames: Vec<(usize, f64)> = times_ms.iter().copied().enumerate().collect();
    let points: Vec<String> = frames
        .chunks(frames.len().div_ceil(COLUMNS).max(1))
        .flat_map(ends)
        .map(|(n, ms)| format!("{:.1},{:.1}", x(n as f64 + 1.0), y(ms)))
        .collect();
    let _ = writeln!(svg, "<polyline fill=\"none\" stroke=\"#06c\" points=\"{}\"/>\n</svg>", points.join(" "));
    svg
}

/// The quickest and the slowest of some frames, in their order.
fn ends(frames: &[(usize, f64)]) -> Vec<(usize, f64)> {
    let by_time = |one: &&(usize, f64), other: &&(usize, f64)| one.1.total_cmp(&other.1);
    let (least, most) = (frames.iter().min_by(by_time), frames.iter().max_by(by_time));
    let mut ends: Vec<_> = least.into_iter().chain(most).copied().collect();
    ends.sort_by_key(|(n, _)| *n);
    ends.dedup_by_key(|(n, _)| *n);
    ends
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_frame_is_at_the_top_and_every_frame_is_there() {
        let moments = [Moment { frame: 2, what: "vivid < attaches".into() }];
        let svg = frame_times("pipe", &[1.0, 10.0, 5.0], &moments);
        assert!(svg.contains("points=\"48.0,249.6 480.0,48.0 912.0,160.0\""), "{svg}");
        assert!(svg.contains("vivid &lt; attaches"), "{svg}");
        assert!(svg.contains("10 ms"), "{svg}");
    }

    #[test]
    fn of_many_frames_the_slowest_is_still_seen() {
        let mut times = vec![1.0; 10_008];
        times[7_000] = 10.0;
        let svg = frame_times("pipe", &times, &[]);
        assert!(svg.len() < 20_000, "{} B", svg.len());
        assert!(svg.contains(",48.0 "), "the slowest one is not at the top: {svg}");
    }

    #[test]
    fn no_frame_is_no_crash() {
        assert!(frame_times("empty", &[], &[]).ends_with("</svg>\n"));
    }
}
