//! Pictures: latency by percentile, and bars.

use std::path::Path;

use hdrhistogram::Histogram;
use plotters::prelude::*;

use crate::Outcome;

const FONT: &str = "sans-serif";
const COLOURS: [RGBColor; 6] = [
    RGBColor(0x1b, 0x6c, 0xa8),
    RGBColor(0xd9, 0x5f, 0x02),
    RGBColor(0x1b, 0x9e, 0x77),
    RGBColor(0x75, 0x70, 0xb3),
    RGBColor(0xa6, 0x76, 0x1d),
    RGBColor(0x66, 0x66, 0x66),
];
/// The percentiles that are drawn: 0, 90, 99, … at even distances.
const NINES_MAX: f64 = 5.0;
const STEPS: u32 = 200;

/// Latency by percentile: one line a histogram (in nanoseconds).
///
/// # Errors
/// If the file cannot be written.
pub fn percentiles(path: &Path, title: &str, lines: &[(String, &Histogram<u64>)]) -> Outcome<()> {
    let points = |histogram: &Histogram<u64>| -> Vec<(f64, f64)> {
        // Beyond the last request there is nothing to see.
        let end = (histogram.len().max(2) as f64).log10().min(NINES_MAX);
        (0..=STEPS)
            .map(|step| {
                let nines = end * f64::from(step) / f64::from(STEPS);
                let ns = histogram.value_at_quantile(1.0 - 10_f64.powf(-nines));
                (nines, (ns as f64 / 1e6).max(1e-4))
            })
            .collect()
    };
    let all: Vec<(&str, Vec<(f64, f64)>)> =
        lines.iter().map(|(name, histogram)| (name.as_str(), points(histogram))).collect();
    let latencies = || all.iter().flat_map(|(_, points)| points.iter().map(|point| point.1));
    let least = latencies().fold(f64::INFINITY, f64::min).min(1.0) / 1.5;
    let most = latencies().fold(least, f64::max) * 1.5;

    let area = SVGBackend::new(path, (820, 440)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, (FONT, 17))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d(0.0..NINES_MAX, (least..most).log_scale())?;
    chart
        .configure_mesh()
        .x_labels(6)
        .x_label_formatter(&|nines| format!("{} %", percent(*nines)))
        .x_desc("percentile of the requests")
        .y_label_formatter(&|ms| format!("{ms}"))
        .y_desc("latency, ms")
        .light_line_style(WHITE)
        .label_style((FONT, 13))
        .draw()?;
    for ((name, points), colour) in all.into_iter().zip(COLOURS.iter().cycle()) {
        let style = colour.stroke_width(2);
        chart
            .draw_series(LineSeries::new(points, style))?
            .label(name)
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(WHITE)
        .label_font((FONT, 13))
        .draw()?;
    area.present()?;
    Ok(())
}

fn percent(nines: f64) -> String {
    let text = format!("{:.3}", 100.0 - 100.0 * 10_f64.powf(-nines));
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A bar: how long (1 = as long as what it is compared with), and what is written behind it.
#[derive(Clone, Debug)]
pub struct Bar {
    /// Its length.
    pub ratio: f64,
    /// What is written behind it.
    pub label: String,
}

/// Bars that are longer are cut off, for the others to be seen.
const RATIO_MAX: f64 = 4.0;

/// Groups of bars, one bar a series, with a line at 1.
///
/// # Errors
/// If the file cannot be written.
pub fn bars(
    path: &Path,
    title: &str,
    footer: &str,
    series: &[String],
    groups: &[(String, Vec<Option<Bar>>)],
) -> Outcome<()> {
    let longest = groups.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0) as i32;
    let left = 30 + longest * 7;
    let width = 720 + left;
    const RIGHT: i32 = 130;
    const BAR: i32 = 14;
    const GAP: i32 = 12;
    const TOP: i32 = 64;
    let group_height = BAR * series.len() as i32 + GAP;
    let height = TOP + group_height * groups.len() as i32 + 36;
    let most = groups
        .iter()
        .flat_map(|(_, bars)| bars.iter().flatten())
        .map(|bar| bar.ratio)
        .fold(1.0, f64::max)
        .min(RATIO_MAX);
    let x = |ratio: f64| left + (f64::from(width - left - RIGHT) * ratio.min(most) / most) as i32;

    let area = SVGBackend::new(path, (width as u32, height as u32)).into_drawing_area();
    area.fill(&WHITE)?;
    let font = |size: i32| (FONT, size).into_font();
    area.draw(&Text::new(title.to_owned(), (12, 10), font(17)))?;
    let mut legend = 12;
    for (name, colour) in series.iter().zip(COLOURS.iter().cycle()) {
        area.draw(&Rectangle::new([(legend, 38), (legend + 12, 50)], colour.filled()))?;
        area.draw(&Text::new(name.clone(), (legend + 17, 38), font(13)))?;
        legend += 40 + 7 * name.chars().count() as i32;
    }
    for (place, (name, bars)) in groups.iter().enumerate() {
        let top = TOP + group_height * place as i32;
        area.draw(&Text::new(name.clone(), (12, top + (group_height - GAP) / 2 - 6), font(13)))?;
        for (row, (bar, colour)) in bars.iter().zip(COLOURS.iter().cycle()).enumerate() {
            let Some(bar) = bar else { continue };
            let y = top + BAR * row as i32;
            area.draw(&Rectangle::new([(left, y + 1), (x(bar.ratio).max(left + 1), y + BAR - 1)], colour.filled()))?;
            let goes_on = if bar.ratio > most { "… " } else { "" };
            area.draw(&Text::new(format!("{goes_on}{}", bar.label), (x(bar.ratio) + 5, y + 1), font(11)))?;
        }
    }
    let bottom = TOP + group_height * groups.len() as i32;
    area.draw(&PathElement::new([(x(1.0), TOP - 6), (x(1.0), bottom)], BLACK.mix(0.6).stroke_width(1)))?;
    area.draw(&Text::new(footer.to_owned(), (12, bottom + 10), font(11)))?;
    area.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_show_what_they_are_given() {
        let folder = tempfile::tempdir().unwrap();
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        (1..10_000).for_each(|number| histogram.record(number * 1000).unwrap());
        let path = folder.path().join("a.svg");
        percentiles(&path, "a title", &[("get".into(), &histogram)]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("a title") && text.contains("99.9 %") && text.contains("get"), "{text}");
        let bar = |ratio| Some(Bar { ratio, label: format!("{ratio}") });
        bars(&path, "t", "f", &["x".into(), "y".into()], &[("g".into(), vec![bar(1.0), bar(2.5)])]).unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().contains("2.5"));
        bars(&path, "t", "f", &["x".into()], &[("g".into(), vec![bar(99.0)])]).unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().contains("… 99"), "it is cut off, and says so");
    }

    #[test]
    fn percentiles_are_named() {
        assert_eq!([0.0, 1.0, 2.0, 3.0, 5.0].map(percent), ["0", "90", "99", "99.9", "99.999"]);
    }
}
